"""wise_ft: weights between the zero-shot and the fine-tuned model."""

from __future__ import annotations

import copy

import torch

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.validation import validate

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))


@torch.no_grad()
def interpolate(start: Classifier, end: Classifier, alpha: float) -> Classifier:
    """theta = (1 - alpha) theta_0 + alpha theta_1 over every weight; exact at 0 and 1."""
    model = copy.deepcopy(end)
    first, last = dict(start.named_parameters()), dict(end.named_parameters())
    for name, p in model.named_parameters():
        p.copy_(torch.lerp(first[name], last[name], alpha))
    return model


def chosen_mix(name: str, tuned: Classifier, start: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The mix of two models with the best OOD validation accuracy, ties going to ID validation."""
    scores = {alpha: validate(interpolate(start, tuned, alpha), data, context) for alpha in ALPHAS}
    alpha = max(scores, key=lambda a: scores[a])
    for a, (ood, id_) in scores.items():
        context.log({"method": name, "alpha": a, "ood_val_accuracy": ood, "id_val_accuracy": id_, "chosen": a == alpha})
    return interpolate(start, tuned, alpha)


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The chosen mix of zero_shot and ft.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 4.
    """
    return chosen_mix("wise_ft", context.fitted("ft"), classifier, data, context)
