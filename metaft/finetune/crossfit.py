"""Judging methods by images of ood_val that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.folds import folds, unsplittable
from metaft.data.types import Split


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
    """The classes [N] that a method names on the images of ood_val in order, and whether each is right [N]."""

    predictions: Tensor
    correct: Tensor

    @property
    def accuracy(self) -> float:
        """The share of right ones, in [0, 1]."""
        return float(self.correct.double().mean())


def judge(parts: Sequence[Apart], batch_size: int, device: torch.device | str = "cpu") -> Judged:
    """What the models say of the images each is apart from, which together are all of ood_val."""
    named = torch.cat([predict(p.model, p.judging, batch_size, device).argmax(dim=1) for p in parts])
    labels, order = torch.cat([p.judging.labels for p in parts]), torch.cat([p.rows for p in parts]).argsort()
    return Judged(named[order], (named == labels)[order])
