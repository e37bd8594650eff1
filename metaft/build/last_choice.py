"""A search's last choice, at full length: whose fine-tune, and the share of its way."""

from __future__ import annotations

from dataclasses import replace

from metaft.build.fits import methods
from metaft.build.sources import trains
from metaft.build.workspace import Workspace
from metaft.config.schema import Config
from metaft.errors import DivergedError
from metaft.finetune.fits import Fits
from metaft.finetune.knobs import knobs_of
from metaft.finetune.methods.autoft import way_of
from metaft.finetune.methods.ft_ood_val import both
from metaft.finetune.methods.wise_ft import Way
from metaft.metrics import ROUNDING
from metaft.names import ALPHA, OOD_VAL
from metaft.objective.objective import Objective
from metaft.results import LastChoice

BOTH = "ft_ood_val"  # plain fine-tuning on all labels
END, FOUND = "autoft_end", "autoft_found"  # where the fits of the winner and those of what was searched are kept
Candidates = dict[str, tuple[Objective, Way]]


def is_made(cfg: Config) -> bool:
    """Whether settings ask for a last choice: alpha is searched, and ood_val judges."""
    return cfg.mixes and ALPHA not in cfg.objective.fixed and cfg.search.outer_data == OOD_VAL


def settled(work: Workspace, learned: Objective, fits: Fits) -> tuple[Objective, LastChoice | None]:
    """What a search has found, or plain fine-tuning's objective on all labels, at the best share of its way; and why.

        worth = what models on folds say of ood_val - what is lost on id_val (see `finetune.validation.weighing`)

    Of equals it is what was searched, at the share next to the one that it was searched with.

    Short loops cannot tell how far a long fine-tune should be followed, nor whether it learns what a probe cannot. So
    the last word is with fine-tunes as they will be handed back. They are the run's own, and `fits` keeps them. Plain
    fine-tuning on all labels takes part where it is compared anyway. An objective stays as it is where its share is not
    searched, or none of the shares lies in the range of it, or ood_val does not judge the search, or cannot.
    """
    if not is_made(work.cfg):
        return learned, None
    kept = fits
    fits = replace(fits, context=fits.context.varied(learned=learned)).aside(END, FOUND)
    fits.helpers(fits, [END, *fits.context.settings.plain_methods])
    candidates: Candidates = {"autoft": (learned, way_of(learned)), **_on_all_labels(work, fits)}
    worths = {name: found for name, (_, way) in candidates.items() if (found := _worths(work, fits, way))}
    if not worths:
        return learned, None
    at = [(name, share) for name, found in worths.items() for share in found]

    def rank(candidate: tuple[str, float]) -> tuple[float, bool, float]:
        name, share = candidate
        worth = round(worths[name][share] / ROUNDING) * ROUNDING
        return worth, name != BOTH, -abs(share - candidates[name][0].alpha)

    method, alpha = max(at, key=rank)
    for name, share in at:
        event = {"candidate": name, "alpha": share, "worth": worths[name][share]}
        fits.context.log({"method": "autoft", **event, "chosen": (name, share) == (method, alpha)})
    kept.share(BOTH if method == BOTH else FOUND, END)
    best = {name: max(found.values()) for name, found in worths.items()}
    return replace(candidates[method][0], alpha=alpha), LastChoice(method, alpha, best)


def _on_all_labels(work: Workspace, fits: Fits) -> Candidates:
    """Plain fine-tuning on all labels with what cross-validation has chosen, if it takes part and does not diverge."""
    if not trains(work) or BOTH not in methods(work):
        return {}
    try:
        knobs = {**knobs_of(BOTH, fits.context), **fits(BOTH).chosen}
    except DivergedError:
        return {}
    return {BOTH: (both(knobs, fits.context), Way("zero_shot", BOTH, weighed=True))}


def _worths(work: Workspace, fits: Fits, way: Way) -> dict[float, float]:
    """The worth at each share of a way in its range; none where a fine-tune diverges or ood_val cannot judge."""
    low, high = work.cfg.objective.bounds.get(ALPHA, (0.0, 1.0))
    try:
        rated = way.rated(work.splits.search_data, fits.within())
    except DivergedError:
        return {}
    return {share: mix.worth for share, mix in rated.items() if low <= share <= high}
