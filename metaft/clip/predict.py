"""Running a classifier over all images of a split."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metaft import ranks
from metaft.apart import apart
from metaft.clip.classifier import Classifier, Outputs
from metaft.data.types import Split
from metaft.errors import DivergedError
from metaft.progress import track


@torch.no_grad()
def predict(classifier: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """Logits [N, C] of a split's images in order, on the CPU, of the classes that are answers there.

    Raises:
        DivergedError: some are NaN or infinite, of which the largest would be taken for an answer.
    """
    features = image_features(classifier, split, batch_size, device)
    logits = torch.cat([classifier.head(part.to(device)).cpu() for part in features.split(batch_size)])
    if not logits.isfinite().all():
        odd = int((~logits.isfinite()).any(dim=1).sum())
        raise DivergedError(f"{split.name}: diverged (of {odd} of {len(logits)} images the logits are not finite)")
    return logits if split.answers is None else competing(logits, split.answers)


@torch.no_grad()
def image_features(classifier: Classifier, split: Split, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """Unit image features [N, D] of a split's images in order, on the CPU: those that are kept, where there are any."""
    kept = classifier.trunk.features(split)
    if kept is not None:
        return kept
    coming = split.batches(batch_size, device, ranks.share())
    batches = track(coming, split.name, total=-(-len(split) // batch_size))
    features = torch.cat([outputs(classifier, batch.images).image_features.cpu() for batch in batches])
    classifier.trunk.keep(split, features)
    return features


def outputs(classifier: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
    """A classifier's outputs on images, of which each rank computes its own; not differentiable by its parameters."""
    return Outputs(*apart(lambda params, own, tokens: classifier(own), {}, images, None))  # type: ignore[arg-type]


def competing(logits: Tensor, answers: Tensor) -> Tensor:
    """Logits [N, C] in which only answers compete, each with the best of the classes that count as it.

    out[:, c] = max of logits[:, k] over the classes k with answers[k] = c; -inf where there are none

    Args:
        answers: the class that each class counts as [C], -1 for one that is no answer.

    Source: how WiSE-FT (Wortsman et al., CVPR 2022) scores ImageNet-A, ImageNet-R and ObjectNet.
    """
    answering = (answers >= 0).nonzero()[:, 0]
    places = answers[answering].expand(len(logits), -1)
    return torch.full_like(logits, -torch.inf).scatter_reduce(1, places, logits[:, answering], "amax")
