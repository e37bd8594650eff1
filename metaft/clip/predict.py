"""Running a classifier over all images of a split."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, Outputs
from metaft.data.types import Split
from metaft.metrics import competing
from metaft.progress import track


def predict(classifier: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """Logits [N, C] of a split's images in order, on the CPU, of the classes that are answers there."""
    logits = _over(split, classifier, lambda out: out.logits, batch_size, device)
    return logits if split.answers is None else competing(logits, split.answers)


def image_features(classifier: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """Unit image features [N, D] of a split's images in order, on the CPU."""
    return _over(split, classifier, lambda out: out.image_features, batch_size, device)


@torch.no_grad()
def _over(
    split: Split,
    classifier: Classifier,
    part: Callable[[Outputs], Tensor],
    batch_size: int,
    device: torch.device | str,
) -> Tensor:
    batches = track(split.batches(batch_size, device), split.name, total=-(-len(split) // batch_size))
    return torch.cat([part(classifier(batch.images)).cpu() for batch in batches])
