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
from metaft.search.registry import CE_SLOPE
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
    """What models say of images that they were not trained on, in order: logits [N, C], beside the labels [N]."""

    logits: Tensor
    labels: Tensor

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

    @cached_property
    def losses(self) -> Tensor:
        """The cross-entropy of each image at the temperature that suits them all, in nats, float64 [N]."""
        logits = self.logits.double()
        cooled = logits * (-best_log_temperature(logits, self.labels)).exp()
        return F.cross_entropy(cooled, self.labels, reduction="none")


def gains(model: Judged, over: Judged) -> Tensor:
    """What a model gains over another on each image, in shares of accuracy, float64 [N].

        (right - right') / 2 + (loss' - loss) / 2 CE_SLOPE

    of the one and the other ('). Whether an image is right says much of few images only; by how much it is says the
    same of accuracy with less noise, but is no accuracy: each has half of the say.
    """
    right = model.correct.double() - over.correct.double()
    return (right + (over.losses - model.losses) / CE_SLOPE) / 2


def judge(parts: Sequence[Apart], batch_size: int, device: torch.device | str = "cpu") -> Judged:
    """What the models say of the images each is apart from, which together are all of ood_val."""
    logits = torch.cat([predict(p.model, p.judging, batch_size, device) for p in parts])
    labels, order = torch.cat([p.judging.labels for p in parts]), torch.cat([p.rows for p in parts]).argsort()
    return Judged(logits[order], labels[order])
