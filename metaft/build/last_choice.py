"""A search's last choice, at full length: whose fine-tune, and the share of its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import torch

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
from metaft.finetune.methods.wise_ft import ALPHAS, Way, interpolate
from metaft.finetune.validation import id_price, right_on
from metaft.metrics import accuracy
from metaft.objective.objective import Objective
from metaft.results import LastChoice
from metaft.search.problem.judging import judgement_of

BOTH = "ft_ood_val"  # plain fine-tuning on all labels
END, FOUND = "autoft_end", "autoft_found"  # where the fits of the winner and those of what was searched are kept
Candidates = dict[str, tuple[Objective, Way]]
Value = tuple[float, float]  # the worth of a model, and minus its outer loss


def settled(work: Workspace, learned: Objective, fits: Fits) -> tuple[Objective, LastChoice | None]:
    """What a search has found, or plain fine-tuning's objective on all labels, at the best share of its way; and why.

        worth = accuracy on ood_val of models on folds - what is lost on id_val (see `finetune.validation.drop_price`)

    Of equals it is the one with the lowest outer loss; where the labels tell no more, what was searched, at the share
    next to the one that it was searched with.

    Short loops cannot tell how far a long fine-tune should be followed, nor whether it learns what a probe cannot. So
    the last word is with fine-tunes as they will be handed back. They are the run's own, and `fits` keeps them. Plain
    fine-tuning on all labels takes part where it is compared anyway. An objective stays as it is where its share is not
    searched, or ood_val cannot judge.
    """
    if not work.cfg.mixes:
        return learned, None
    kept = fits
    fits = replace(fits, context=fits.context.varied(learned=learned)).aside(END, FOUND)
    candidates: Candidates = {"autoft": (learned, way_of(learned)), **_on_all_labels(work, fits)}
    values = {name: found for name, (_, way) in candidates.items() if (found := _values(work, fits, way))}
    if not values:
        return learned, None
    at = [(name, share) for name, found in values.items() for share in found]

    def rank(candidate: tuple[str, float]) -> tuple[float, ...]:
        name, share = candidate
        return *values[name][share], name != BOTH, -abs(share - candidates[name][0].alpha)

    method, alpha = max(at, key=rank)
    for name, share in at:
        worth, loss = values[name][share]
        event = {"candidate": name, "alpha": share, "worth": worth, "outer_loss": -loss}
        fits.context.log({"method": "autoft", **event, "chosen": (name, share) == (method, alpha)})
    kept.share(BOTH if method == BOTH else FOUND, END)
    best = {name: max(found.values())[0] for name, found in values.items()}
    return replace(candidates[method][0], alpha=alpha), LastChoice(method, alpha, best)


def _on_all_labels(work: Workspace, fits: Fits) -> Candidates:
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
        begin, end = way.ends(context)
        price = id_price(work.splits.id_val, context)
    except DivergedError:
        return {}

    def value(share: float) -> Value:
        right, loss = _said(work, apart(share))
        lost = price(right_on(work.splits.id_val, interpolate(begin, end, share), context))
        return right - lost, -loss

    return {share: value(share) for share in ALPHAS}


def _said(work: Workspace, parts: Sequence[Apart]) -> tuple[float, float]:
    """The accuracy of models on images that they were not trained on, and the mean of their outer losses."""
    cfg, labels = work.cfg, [part.judging.labels for part in parts]
    logits = [predict(part.model, part.judging, cfg.evaluation.batch_size, work.device) for part in parts]
    losses = [judgement_of(part.judging, cfg.search).function for part in parts]
    loss = fmean(float(of(z, y)) for of, z, y in zip(losses, logits, labels, strict=True))
    return accuracy(torch.cat(logits), torch.cat(labels)), loss
