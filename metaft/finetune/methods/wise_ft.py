"""wise_ft: weights between the zero-shot and the fine-tuned model."""

from __future__ import annotations

import copy

import torch

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import SearchData, Split
from metaft.finetune.settings import FitSettings
from metaft.metrics import accuracy

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))


@torch.no_grad()
def interpolate(start: Classifier, end: Classifier, alpha: float) -> Classifier:
    """theta = (1 - alpha) theta_0 + alpha theta_1 over every weight; exact at 0 and 1."""
    model = copy.deepcopy(end)
    here, there = dict(start.named_parameters()), dict(end.named_parameters())
    for name, p in model.named_parameters():
        p.copy_((1 - alpha) * here[name] + alpha * there[name])
    return model


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """The mix of zero_shot and ft with the best OOD validation accuracy, ties going to ID validation.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 4.
    """
    tuned = settings.fitted("ft")

    def score(split: Split, model: Classifier) -> float:
        return accuracy(predict(model, split, settings.eval_batch_size, settings.device), split.labels)

    def validate(alpha: float) -> tuple[float, float]:
        model = interpolate(classifier, tuned, alpha)
        return score(data.ood_val, model), score(data.id_val, model)

    scores = {alpha: validate(alpha) for alpha in ALPHAS}
    alpha = max(scores, key=lambda a: scores[a])
    for a, (ood, id_) in scores.items():
        settings.log(
            {"method": "wise_ft", "alpha": a, "ood_val_accuracy": ood, "id_val_accuracy": id_, "chosen": a == alpha}
        )
    return interpolate(classifier, tuned, alpha)
