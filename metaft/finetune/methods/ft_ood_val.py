"""ft_ood_val: plain fine-tuning on the ID and the OOD validation images together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from statistics import fmean

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext, Forgetful
from metaft.finetune.crossfit import Apart
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train
from metaft.finetune.tried import tried
from metaft.finetune.validation import Score, judged_apart, score_on
from metaft.objective.objective import Objective

GRID = {"weight": (0.3, 1.0, 3.0), "lr_factor": (0.3, 1.0)}
SHORTER = 4  # times fewer steps in the trainings that choose
UNJUDGED = {"weight": 1.0, "lr_factor": 1.0}  # where ood_val cannot be split
DIVERGED = (-math.inf, -math.inf)  # below every score
Values = Mapping[str, float]  # of the knobs, by name


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy on id_train plus `weight` times that on ood_val: the obvious alternative to a search.

    The weight, and the factor of plain fine-tuning's learning rate, are chosen by cross-validation on ood_val,
    ties going to id_val, each after a training of a quarter of the steps; 1 and 1 where ood_val cannot be split.
    """
    values = {name: value for name, value in knobs_of("ft_ood_val", context).items() if value is not None}
    if len(values) < len(GRID):
        values = _chosen(values, classifier, data, context)
        context.chosen.update(values)
    return train(classifier, both(values, context), data, context, "ft_ood_val")


def both(values: Values, context: FitContext) -> Objective:
    """Plain fine-tuning's objective on both sets, with the values of the method's knobs."""
    plain = context.settings.plain
    return replace(plain, lr=plain.lr * values["lr_factor"], sources={"ood_val": values["weight"]})


def _chosen(given: Values, classifier: Classifier, data: SearchData, context: FitContext) -> dict[str, float]:
    """The best values by cross-validation, among those that agree with the given ones."""
    if not context.rows_by_fold(data.ood_val):
        return {**UNJUDGED, **given}
    choices = GRID | {name: (value,) for name, value in given.items()}
    grid = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    scores = tried("ft_ood_val", grid, lambda values: _score(values, classifier, data, context), context)
    return max(zip(grid, scores, strict=True), key=lambda pair: pair[1])[0]


def _score(values: Values, classifier: Classifier, data: SearchData, context: FitContext) -> Score:
    """Accuracy on ood_val of short trainings without the images that judge, and their mean accuracy on id_val."""
    short = replace(context.varied(steps=max(1, context.settings.steps // SHORTER), checks=1), keeper=Forgetful())
    quiet, objective, parts = replace(short, log=lambda event: None), both(values, context), list[Apart]()
    for fitting, judging in context.rows_by_fold(data.ood_val):
        seen = replace(data, ood_val=data.ood_val.subset(fitting))
        try:
            model = train(classifier, objective, seen, quiet, "ft_ood_val")
        except DivergedError:
            return DIVERGED
        parts.append(Apart(model, data.ood_val.subset(judging), judging))
    id_val = fmean(score_on(data.id_val, part.model, context) for part in parts)
    return judged_apart(parts, context).score(context.settings.metric), id_val
