"""How far a fine-tune has gone from theta_0: in weights by group, in features by split."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, group_of
from metaft.data.types import SearchData, Split
from metaft.progress import track


@torch.no_grad()
def weight_drift(start: Classifier, end: Classifier) -> dict[str, float]:
    """The L2 distance |theta - theta_0| of each parameter group, and of all together under `all`."""
    here = dict(start.named_parameters())
    squares: dict[str, float] = {}
    for name, p in end.named_parameters():
        square = float((p - here[name]).double().square().sum())
        for group in (group_of(name), "all"):
            squares[group] = squares.get(group, 0.0) + square
    return {group: square**0.5 for group, square in squares.items()}


@torch.no_grad()
def feature_drift(
    start: Classifier, end: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu"
) -> float:
    """The mean over a split's images of |f_theta(x) - f_theta_0(x)|^2, unit features, so between 0 and 4."""
    batches = track(split.batches(batch_size, device), f"drift, {split.name}", total=-(-len(split) // batch_size))

    def moved(images: Tensor) -> Tensor:
        distance: Tensor = (end(images).image_features - start(images).image_features).square().sum(dim=1)
        return distance

    return float(torch.cat([moved(batch.images) for batch in batches]).double().mean())


def drift(
    start: Classifier, end: Classifier, data: SearchData, batch_size: int, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Both kinds, features on both validation sets.

    Source: the comparison of feature protection methods of Lu et al., arXiv 2405.16027, which reads forgetting off
    the features.
    """
    splits = (data.id_val, data.ood_val)
    features = {split.name: feature_drift(start, end, split, batch_size, device) for split in splits}
    return {"weights": weight_drift(start, end), "features": features}
