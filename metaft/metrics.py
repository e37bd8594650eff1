"""Metrics: pure functions of logits and labels, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SURE = 2.0  # standard errors beyond which a difference is no chance
ID_PRICE = 2.0  # points out of distribution that each point surely missing in distribution has to bring
ROUNDING = 1e-9  # of accuracies that are compared


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of right predictions, from logits [N, C] and labels [N]."""
    return float((logits.argmax(dim=1) == labels).double().mean())


@dataclass(frozen=True)
class Gap:
    """How far a model's accuracy is below another's on the same images: mean(d), with its error sd(d) / sqrt(N)."""

    mean: float
    error: float

    @classmethod
    def between(cls, best: Tensor, other: Tensor) -> Gap:
        """The gap of d_i = best right on image i - other right on it, from whether each is right, [N]."""
        d = best.double() - other.double()
        return cls(float(d.mean()), float(d.std(correction=min(1, len(d) - 1))) / len(d) ** 0.5)

    def beyond(self, limit: float) -> float:
        """What is surely missing: max(0, mean - `SURE` errors - limit)."""
        return max(0.0, self.mean - SURE * self.error - limit)


def predictions(logits: Tensor) -> tuple[Ints, Floats]:
    """Predicted classes [N] and their probabilities [N]."""
    p = logits.double().softmax(dim=1).cpu().numpy()
    return p.argmax(axis=1), p.max(axis=1)


def _accuracy(predicted: Ints, confidence: Floats, labels: Ints) -> float:
    return float((predicted == labels).mean())


def _macro_f1(predicted: Ints, confidence: Floats, labels: Ints) -> float:
    """The mean over classes present of 2 TP / (2 TP + FP + FN)."""
    size = int(max(predicted.max(), labels.max())) + 1
    hits = np.bincount(labels[predicted == labels], minlength=size)
    total = np.bincount(predicted, minlength=size) + np.bincount(labels, minlength=size)
    present = np.bincount(labels, minlength=size) > 0
    return float((2 * hits[present] / total[present]).mean())


def _ece(predicted: Ints, confidence: Floats, labels: Ints, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo et al., ICML 2017): sum_b n_b/N |acc_b - conf_b|."""
    bin_numbers = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_numbers, weights=(predicted == labels) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


METRICS: dict[str, Callable[[Ints, Floats, Ints], float]] = {"accuracy": _accuracy, "macro_f1": _macro_f1, "ece": _ece}


def score(
    logits: Tensor, labels: Tensor, resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Every metric, and its 95 % percentile bootstrap interval over images.

    Args:
        logits: [N, C].
        labels: [N].
        resamples: how many draws of N images with replacement.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, section 13.3.
    """
    predicted, confidence = predictions(logits)
    truth = labels.cpu().numpy()
    values = {name: metric(predicted, confidence, truth) for name, metric in METRICS.items()}
    draws: Mapping[str, list[float]] = {name: [] for name in METRICS}
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        rows = rng.integers(len(truth), size=len(truth))
        for name, metric in METRICS.items():
            draws[name].append(metric(predicted[rows], confidence[rows], truth[rows]))
    intervals = {name: (float(np.percentile(d, 2.5)), float(np.percentile(d, 97.5))) for name, d in draws.items()}
    return values, intervals
