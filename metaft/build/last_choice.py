"""A search's last choice, at full length: whose fine-tune, and the share of its way."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from metaft.build.fits import methods
from metaft.build.sources import trains
from metaft.build.workspace import Workspace
from metaft.clip.predict import predict
from metaft.errors import DivergedError
from metaft.finetune.crossfit import Apart
from metaft.finetune.fits import Fits
from metaft.finetune.knobs import knobs_of
from metaft.finetune.methods.autoft import way_of
from metaft.finetune.methods.ft_ood_val import both
from metaft.finetune.methods.wise_ft import ALPHAS, Way
from metaft.finetune.validation import accuracy_apart, id_price, right_on
from metaft.objective.objective import Objective
from metaft.results import LastChoice
from metaft.search.problem.judging import judgement_of

BOTH = "ft_ood_val"  # plain fine-tuning on all labels
END, FOUND = "autoft_end", "autoft_found"  # where the fits of the winner and those of what was searched are kept
Value = tuple[float, float]  # the worth of a model, and minus its outer loss


def settled(work: Workspace, learned: Objective, fits: Fits) -> tuple[Objective, LastChoice | None]:
    """What a search has found, or plain fine-tuning's objective on all labels, at the best share of its way; and why.

        worth = accuracy on ood_val of models on folds - what is lost on id_val (see `finetune.validation.drop_price`)

    Of equals it is the one with the lowest outer loss.

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
    values = {
        (name, share): value
        for name, (_, way) in candidates.items()
        for share, value in _values(work, fits, way).items()
    }
    if not values:
        return learned, None
    method, alpha = max(values, key=lambda at: values[at])
    for (name, share), (worth, loss) in values.items():
        event = {"candidate": name, "alpha": share, "worth": worth, "outer_loss": -loss}
        fits.context.log({"method": "autoft", **event, "chosen": (name, share) == (method, alpha)})
    kept.share(BOTH if method == BOTH else FOUND, END)
    best = {name: max(worth for (of, _), (worth, _) in values.items() if of == name) for name, _ in values}
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


def _values(work: Workspace, fits: Fits, way: Way) -> dict[float, Value]:
    """The value at each share of a way; none where a fine-tune diverges or ood_val cannot judge."""
    context = fits.within()
    try:
        apart = way.apart(context)
        if apart is None:
            return {}
        price = id_price(work.splits.id_val, context)
        return {
            share: (
                accuracy_apart(apart(share), context)
                - price(right_on(work.splits.id_val, way.model(share, context), context)),
                -fmean(_outer_loss(work, part) for part in apart(share)),
            )
            for share in ALPHAS
        }
    except DivergedError:
        return {}


def _outer_loss(work: Workspace, part: Apart) -> float:
    """The outer loss of a model on images that it was not trained on."""
    logits = predict(part.model, part.judging, work.cfg.evaluation.batch_size, work.device)
    return float(judgement_of(part.judging, work.cfg.search).function(logits, part.judging.labels))
