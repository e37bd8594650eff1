"""Training batches: images, labels, a caption each, and what theta_0 says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metaft.clip.classifier import Outputs
from metaft.data.types import Split
from metaft.objective.state import StepState


class TrainBatch(NamedTuple):
    """Images [B, 3, S, S], labels [B], caption tokens [B, L] or None, and theta_0's outputs on demand."""

    images: Tensor
    labels: Tensor
    tokens: Tensor | None
    reference: Callable[[], tuple[Tensor, Tensor]] | None

    def observe(self, out: Outputs, params: dict[str, Tensor], pretrained: dict[str, Tensor]) -> StepState:
        """The state a term sees, from the model's outputs on this batch."""
        return StepState(
            logits=out.logits,
            image_features=out.image_features,
            labels=self.labels,
            text_features=out.text_features,
            logit_scale=out.logit_scale,
            reference=self.reference,
            params=params,
            pretrained=pretrained,
        )


class Reference:
    """theta_0's logits and features of a split's images, computed once per image.

    Args:
        classifier: theta_0; it is never changed.
    """

    def __init__(self, classifier: nn.Module, split: Split, device: torch.device | str) -> None:
        self._classifier, self._split, self._device = classifier, split, device
        self._known = torch.zeros(len(split), dtype=torch.bool)
        self._logits: Tensor | None = None
        self._features: Tensor | None = None
        self.images_seen = 0  # forwards so far, for counting cost

    @torch.no_grad()
    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, C] and features [B, D] of these images."""
        fresh = indices[~self._known[indices]].unique()
        if len(fresh):
            out = self._classifier(self._split.batch(fresh, self._device).images)
            if self._logits is None or self._features is None:
                self._logits = out.logits.new_zeros(len(self._split), out.logits.shape[1])
                self._features = out.image_features.new_zeros(len(self._split), out.image_features.shape[1])
            self._logits[fresh], self._features[fresh] = out.logits, out.image_features
            self._known[fresh] = True
            self.images_seen += len(fresh)
        assert self._logits is not None
        assert self._features is not None
        return self._logits[indices], self._features[indices]


@dataclass(frozen=True)
class TrainBatches:
    """Batches of one split. `tokens` [C, M, L] is None where no term needs captions."""

    split: Split
    tokens: Tensor | None
    reference: Reference
    device: torch.device | str

    def take(self, indices: Tensor, generator: torch.Generator) -> TrainBatch:
        """The images of these numbers, each with a caption in a random template."""
        batch = self.split.batch(indices, self.device)
        tokens = None
        if self.tokens is not None:
            pick = torch.randint(self.tokens.shape[1], (len(indices),), generator=generator)
            tokens = self.tokens[batch.labels, pick.to(batch.labels.device)]
        return TrainBatch(batch.images, batch.labels, tokens, lambda: self.reference(indices))

    def stream(self, size: int, generator: torch.Generator) -> Iterator[TrainBatch]:
        """Endless batches: every image once before any comes again; a last smaller batch is left out."""
        size = min(size, len(self.split))
        while True:
            order = torch.randperm(len(self.split), generator=generator)
            for indices in order.split(size):
                if len(indices) == size:
                    yield self.take(indices, generator)
