"""wise_ft: weights between the zero-shot and the fine-tuned model."""

from __future__ import annotations

import copy

import torch

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.validation import Score, accuracy_apart, accuracy_on

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))
UNJUDGED = 0.5  # where no image is left to judge by; Wortsman et al., section 4: close to the best on most data


@torch.no_grad()
def interpolate(start: Classifier, end: Classifier, alpha: float) -> Classifier:
    """theta = (1 - alpha) theta_0 + alpha theta_1 over every weight; exact at 0 and 1."""
    model = copy.deepcopy(end)
    first, last = dict(start.named_parameters()), dict(end.named_parameters())
    for name, p in model.named_parameters():
        p.copy_(torch.lerp(first[name], last[name], alpha))
    return model


def mixed(name: str, end: str, start: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """A mix of theta_0 and another method's model, of the knob `alpha` or the best by validation."""
    alpha = knobs_of(name, context)["alpha"]
    if alpha is None:
        alpha = context.chosen["alpha"] = _chosen(name, end, start, data, context)
    return interpolate(start, context.fitted(end), alpha)


def _chosen(name: str, end: str, start: Classifier, data: SearchData, context: FitContext) -> float:
    """The alpha with the best accuracy on ood_val, ties going to id_val.

    Images of ood_val judge mixes of models that were not trained on them, where the other method trains on ood_val.
    """
    parts, tuned = context.apart(end), context.fitted(end)
    if parts is None:
        return UNJUDGED

    def score(alpha: float) -> Score:
        mixes = [part._replace(model=interpolate(start, part.model, alpha)) for part in parts]
        return accuracy_apart(mixes, context), accuracy_on(data.id_val, interpolate(start, tuned, alpha), context)

    scores = {alpha: score(alpha) for alpha in ALPHAS}
    best = max(scores, key=lambda a: scores[a])
    for a, (ood, id_) in scores.items():
        context.log({"method": name, "alpha": a, "ood_val_accuracy": ood, "id_val_accuracy": id_, "chosen": a == best})
    return best


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The chosen mix of zero_shot and ft.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 4.
    """
    return mixed("wise_ft", "ft", classifier, data, context)
