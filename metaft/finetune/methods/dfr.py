"""dfr: the fine-tuned model with its last layer retrained on the OOD validation images."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, Split
from metaft.finetune.settings import FitSettings

INVERSE_PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
ABSENT = -1e4  # the bias of a class without an image in ood_val, which is then never predicted
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Logistic regression on the standardised features that `ft` gives of ood_val, in the place of its head.

    The penalty is chosen on one half of ood_val after a fit on the other; the chosen one is fitted to all of it. The
    penalty is the squared l2 norm, not the paper's l1, since features here are few.

    Source: Kirichenko, Izmailov and Wilson, Last layer re-training is sufficient for robustness to spurious
    correlations, ICLR 2023, section 4 (with `ood_val` as the reweighting data).
    """
    model = copy.deepcopy(settings.fitted("ft"))
    x, y = _features(model, data.ood_val, settings)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-8
    x = (x - mean) / deviation
    strength = _chosen(x, y, np.random.default_rng(settings.seed), settings)
    weight, bias = _head(x, y, strength, len(data.classes.names))
    weight = weight / deviation
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight))
        model.head.bias.copy_(torch.from_numpy(bias - weight @ mean))
    return model


@torch.no_grad()
def _features(model: Classifier, split: Split, settings: FitSettings) -> tuple[Floats, Ints]:
    batches = split.batches(settings.eval_batch_size, settings.device)
    features = torch.cat([model(batch.images).image_features for batch in batches])
    return features.double().cpu().numpy(), split.labels.numpy()


def _chosen(x: Floats, y: Ints, rng: np.random.Generator, settings: FitSettings) -> float:
    """The inverse penalty with the best accuracy on the held-out half, the smallest of equals."""
    order = rng.permutation(len(y))
    fit, held = order[::2], order[1::2]
    if len(np.unique(y[fit])) < 2 or len(held) == 0:
        return INVERSE_PENALTIES[-1]
    scores = {c: _regression(x[fit], y[fit], c).score(x[held], y[held]) for c in INVERSE_PENALTIES}
    chosen = max(reversed(INVERSE_PENALTIES), key=lambda c: scores[c])
    settings.log({"method": "dfr", "inverse_penalty": chosen, "held_out_accuracy": scores[chosen]})
    return chosen


def _regression(x: Floats, y: Ints, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2000).fit(x, y)


def _head(x: Floats, y: Ints, strength: float, classes: int) -> tuple[Floats, Floats]:
    """A full head [C, D] and [C]; a regression of two classes gives one row, the difference of theirs."""
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, ABSENT)
    present = np.unique(y)
    bias[present] = 0.0
    if len(present) == 2:
        found = _regression(x, y, strength)
        weight[present[1]], bias[present[1]] = found.coef_[0], found.intercept_[0]
    elif len(present) > 2:
        found = _regression(x, y, strength)
        weight[present], bias[present] = found.coef_, found.intercept_
    return weight, bias
