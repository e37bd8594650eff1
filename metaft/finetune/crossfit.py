"""Judging methods by images of ood_val that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.folds import folds, unsplittable
from metaft.data.types import Split
from metaft.measures import Predictions, once
from metaft.metrics import CE_SLOPE, LOSS_LABELS, METRICS
from metaft.temperature import best_log_temperature


@dataclass(frozen=True)
class _Numbers:
    """A source whose pixels are the images' numbers."""

    def pixels(self, indices: Sequence[int]) -> Tensor:
        return torch.as_tensor(indices)


def rows_by_fold(split: Split, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """The numbers of the images that each fold of a split is fitted on, and judged by; none where it has no folds."""
    if unsplittable(split, count) is not None:
        return []
    numbered = folds(replace(split, source=_Numbers()), count, seed)
    return [(_numbers(fold.fitting), _numbers(fold.judging)) for fold in numbered]


def _numbers(part: Split) -> Tensor:
    return part.source.pixels(range(len(part)))


class Apart(NamedTuple):
    """A model, images of ood_val that it was not trained on, and their numbers [M] in ood_val."""

    model: Classifier
    judging: Split
    rows: Tensor


@dataclass(frozen=True, eq=False)
class Judged:
    """What models say of images that they were not trained on, in order: logits [N, C], beside the labels [N].

    Args:
        groups: the number of each image's domain or group, where these are told apart, [N] (see `Split.parts`).
    """

    logits: Tensor
    labels: Tensor
    groups: Tensor | None = None

    @cached_property
    def predictions(self) -> Tensor:
        """The class named on each image, [N]."""
        return self.logits.argmax(dim=1)

    @cached_property
    def correct(self) -> Tensor:
        """Whether each is right, [N]."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> float:
        """The share of right ones, in [0, 1]."""
        return float(self.correct.double().mean())

    def at(self, rows: Tensor) -> Judged:
        """What is said of these images [M], in their order."""
        return Judged(self.logits[rows], self.labels[rows], None if self.groups is None else self.groups[rows])

    def score(self, metric: str) -> float:
        """A metric by name, the higher the better."""
        return METRICS[metric].score(self.logits, self.labels, self.groups)

    def scores(self, metric: str) -> Tensor:
        """What each image adds to a metric's score, float64 [N]: its jackknife pseudo-value.

            N score - (N - 1) score without the image

        Whether it is right, for accuracy. Their standard deviation over sqrt(N) is the score's standard error.

        Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, section 11.5.
        """
        if metric == "accuracy":
            return self.correct.double()
        if len(self.labels) == 1:
            return torch.tensor([self.score(metric)], dtype=torch.float64)
        chosen, n = METRICS[metric], len(self.labels)
        p, sign = Predictions.of(self.logits, self.labels, self.groups), 1 if chosen.higher_is_better else -1
        weights = once(n)
        whole, values = chosen.weighted(p, weights), torch.empty(n, dtype=torch.float64)
        for image in range(n):
            weights[image] = 0.0
            values[image] = n * whole - (n - 1) * chosen.weighted(p, weights)
            weights[image] = 1.0
        return sign * values

    @cached_property
    def losses(self) -> Tensor:
        """The cross-entropy of each image at the temperature that suits them all, in nats, float64 [N]."""
        logits = self.logits.double()
        cooled = logits * (-best_log_temperature(logits, self.labels)).exp()
        return F.cross_entropy(cooled, self.labels, reduction="none")


def gains(model: Judged, over: Judged, metric: str = "accuracy") -> Tensor:
    """What a model gains over another on each image, in shares of a metric, float64 [N].

        (1 - share) (score - score') + share (loss' - loss) / CE_SLOPE,  share = LOSS_LABELS / (LOSS_LABELS + N)

    of the one and the other ('), the score in shares (see `Judged.scores`; for accuracy, whether the image is right).
    By how much an image is right says with less noise what is asked for, but not quite the same: the fewer images, the
    more say it has. The share weighs both by the inverse of their errors' squares (see `metaft.metrics.LOSS_LABELS`).
    """
    share = _share_of_loss(model)
    scores = (model.scores(metric) - over.scores(metric)) / METRICS[metric].unit
    return (1 - share) * scores + share * (over.losses - model.losses) / CE_SLOPE


def told(model: Judged, over: Judged, metric: str = "accuracy") -> float:
    """What score and loss tell of a model's metric, in shares: the other's score, and what is gained by both.

    The gains' mean, but for the bias that pseudo-values take off a metric that is no mean.
    """
    share, unit = _share_of_loss(model), METRICS[metric].unit
    by_loss = float((over.losses - model.losses).mean()) / CE_SLOPE
    return ((1 - share) * model.score(metric) + share * over.score(metric)) / unit + share * by_loss


def _share_of_loss(judged: Judged) -> float:
    return LOSS_LABELS / (LOSS_LABELS + len(judged.labels))


def together(parts: Sequence[Judged]) -> Judged:
    """What is said of the images of several parts of a split, one part after the other."""
    groups = [part.groups for part in parts if part.groups is not None]
    logits, labels = torch.cat([part.logits for part in parts]), torch.cat([part.labels for part in parts])
    return Judged(logits, labels, torch.cat(groups) if groups else None)


def judge(parts: Sequence[Apart], batch_size: int, device: torch.device | str = "cpu") -> Judged:
    """What the models say of the images each is apart from, which together are all of ood_val."""
    order = torch.cat([part.rows for part in parts]).argsort()
    return together([_said(part, batch_size, device) for part in parts]).at(order)


def judge_whole(model: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu") -> Judged:
    """What one model says of a whole split."""
    return judge([Apart(model, split, torch.arange(len(split)))], batch_size, device)


def _said(part: Apart, batch_size: int, device: torch.device | str) -> Judged:
    """What a model says of its images; they are of domains, or else groups, where the whole split has several."""
    known = part.judging.told_apart
    groups = None if known is None else known.numbers
    return Judged(predict(part.model, part.judging, batch_size, device), part.judging.labels, groups)
