"""Running a classifier over a whole split."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import Split
from metaft.progress import track


@torch.no_grad()
def predict(classifier: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """Logits [N, C] of a split's images in order, on the CPU."""
    batches = track(split.batches(batch_size, device), split.name, total=-(-len(split) // batch_size))
    return torch.cat([classifier(batch.images).logits.cpu() for batch in batches])
