"""How far a fine-tune has gone from theta_0: in weights by group, in features by split."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, group_of
from metaft.clip.predict import image_features
from metaft.data.types import SearchData


@torch.no_grad()
def weight_drift(start: Classifier, end: Classifier) -> dict[str, float]:
    """The L2 distance |theta - theta_0| of each parameter group, and of all together under `all`."""
    pretrained = dict(start.named_parameters())
    squares: dict[str, float] = {}
    for name, p in end.named_parameters():
        square = float((p - pretrained[name]).double().square().sum())
        for group in (group_of(name), "all"):
            squares[group] = squares.get(group, 0.0) + square
    return {group: square**0.5 for group, square in squares.items()}


def feature_drift(start: Tensor, end: Tensor) -> float:
    """The mean over images of |f_theta(x) - f_theta_0(x)|^2, of unit features [N, D], so between 0 and 4."""
    return float((end - start).double().square().sum(dim=1).mean())


class Drift:
    """Both kinds of drift from one model, features on both validation sets; that model's are computed once.

    Source: the comparison of feature protection methods of Tan et al., arXiv 2405.16027, which measures
    forgetting by the features.
    """

    def __init__(
        self, start: Classifier, data: SearchData, batch_size: int, device: torch.device | str = "cpu"
    ) -> None:
        self._start, self._splits = start, (data.id_val, data.ood_val)
        self._batch_size, self._device = batch_size, device

    def _features(self, model: Classifier) -> dict[str, Tensor]:
        return {s.name: image_features(model, s, self._batch_size, self._device) for s in self._splits}

    @cached_property
    def _before(self) -> dict[str, Tensor]:
        return self._features(self._start)

    def __call__(self, end: Classifier) -> dict[str, Any]:
        """How far a fine-tuned model has gone, as results.json has it."""
        after = self._features(end)
        moved = {name: feature_drift(self._before[name], after[name]) for name in after}
        return {"weights": weight_drift(self._start, end), "features": moved}
