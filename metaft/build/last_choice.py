"""A search's last choice, at full length: whose fine-tune, and the share of its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

from torch import Tensor

from metaft.build.fits import methods
from metaft.build.sources import trains
from metaft.build.workspace import Workspace
from metaft.clip.predict import predict
from metaft.errors import DivergedError
from metaft.finetune.crossfit import Apart
from metaft.finetune.fits import Fits
from metaft.finetune.knobs import knobs_of
from metaft.finetune.methods import PLAIN
from metaft.finetune.methods.autoft import way_of
from metaft.finetune.methods.ft_ood_val import both
from metaft.finetune.methods.wise_ft import ALPHAS, Way
from metaft.finetune.validation import right_on
from metaft.objective.objective import Objective
from metaft.results import LastChoice
from metaft.search.problem.judging import judgement_of
from metaft.search.problem.outer import id_cost

BOTH = "ft_ood_val"  # plain fine-tuning on all labels
END, FOUND = "autoft_end", "autoft_found"  # where the fits of the winner and those of what was searched are kept
Lost = Callable[[Tensor], float]  # from whether a model is right on each image of id_val, to what counts against it


def settled(work: Workspace, learned: Objective, fits: Fits) -> tuple[Objective, LastChoice | None]:
    """What a search has found, or plain fine-tuning's objective on all labels, at the best share of its way; and why.

        value = outer loss on ood_val of models on folds + `search.problem.outer.PRICE` times what is surely lost on
                id_val beyond `search.id_drop_max`

    Short loops cannot tell how far a long fine-tune should be followed, nor whether it learns what a probe cannot. So
    the last word is with fine-tunes as they will be handed back. They are the run's own, and `fits` keeps them. Plain
    fine-tuning on all labels takes part where it is compared anyway. An objective stays as it is where its share is not
    searched, or ood_val cannot judge.
    """
    if not work.cfg.mixes:
        return learned, None
    kept = fits
    fits = replace(fits, context=fits.context.varied(learned=learned)).aside(END, FOUND)
    candidates = {"autoft": (learned, way_of(learned)), **_on_all_labels(work, fits)}
    lost = _lost(work, fits)
    values = {
        (name, share): value
        for name, (_, way) in candidates.items()
        for share, value in _values(work, fits, way, lost).items()
    }
    if not values:
        return learned, None
    method, alpha = min(values, key=lambda at: values[at])
    for (name, share), value in values.items():
        event = {"candidate": name, "alpha": share, "value": value, "chosen": (name, share) == (method, alpha)}
        fits.context.log({"method": "autoft", **event})
    kept.share(BOTH if method == BOTH else FOUND, END)
    best = {name: min(v for (of, _), v in values.items() if of == name) for name, _ in values}
    return replace(candidates[method][0], alpha=alpha), LastChoice(method, alpha, best)


def _on_all_labels(work: Workspace, fits: Fits) -> dict[str, tuple[Objective, Way]]:
    """Plain fine-tuning on all labels with what cross-validation has chosen, if it takes part and does not diverge."""
    if not trains(work) or BOTH not in methods(work):
        return {}
    try:
        knobs = {**knobs_of(BOTH, fits.context), **fits(BOTH).chosen}
    except DivergedError:
        return {}
    return {BOTH: (both(knobs, fits.context), Way("zero_shot", BOTH))}


def _values(work: Workspace, fits: Fits, way: Way, lost: Lost) -> dict[float, float]:
    """The value at each share of a way; none where a fine-tune diverges or ood_val cannot judge."""
    context = fits.within()
    try:
        apart = way.apart(context)
        if apart is None:
            return {}
        return {
            share: fmean(_outer_loss(work, part) for part in apart(share))
            + lost(right_on(work.splits.id_val, way.model(share, context), context))
            for share in ALPHAS
        }
    except DivergedError:
        return {}


def _outer_loss(work: Workspace, part: Apart) -> float:
    """The outer loss of a model on images that it was not trained on."""
    logits = predict(part.model, part.judging, work.cfg.evaluation.batch_size, work.device)
    return float(judgement_of(part.judging, work.cfg.search).function(logits, part.judging.labels))


def _lost(work: Workspace, fits: Fits) -> Lost:
    """What is lost in distribution, at its price; nothing without a limit, or where plain fine-tuning diverges."""
    drop = work.cfg.search.id_drop_max
    if drop is None:
        return lambda right: 0.0
    context = fits.within()
    try:
        of_plain = right_on(work.splits.id_val, context.fitted(PLAIN), context)
    except DivergedError:
        return lambda right: 0.0
    return lambda right: id_cost(of_plain, right, drop)
