"""Gradients of cross-entropy outside of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metaft.clip.classifier import Classifier
from metaft.config.schema import ComputeConfig
from metaft.data.types import Batch
from metaft.tensors import Tensors, with_zeros


def unscaled(model: Classifier) -> Classifier:
    """The model as it is differentiated where no loss is scaled: in float32 for one in float16, which has no range."""
    return model.in_precision("float32") if model.precision == "float16" else model


@dataclass(frozen=True)
class Slopes:
    """Gradients of the mean cross-entropy of a model on a batch, of which one part at a time is in memory.

    Args:
        parts: of a batch.
    """

    model: Classifier
    parts: int = 1

    @classmethod
    def of(cls, model: Classifier, how: ComputeConfig) -> Slopes:
        """Those of a model, in as many parts as a step of a fine-tune has."""
        return cls(unscaled(model), how.accumulate)

    def __call__(self, values: Mapping[str, Tensor], batch: Batch) -> Tensors:
        """The gradient by each named parameter, at these values."""
        if self.parts == 1:
            return self._of_part(values, batch.images, batch.labels)
        total = [torch.zeros_like(value) for value in values.values()]
        for rows in torch.arange(len(batch.labels)).chunk(self.parts):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            grads = self._of_part(values, batch.images[part], batch.labels[part])
            torch._foreach_add_(total, list(grads), alpha=len(rows) / len(batch.labels))
        return total

    def _of_part(self, values: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensors:
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
            out = functional_call(self.model, leaves, (images,))
            inputs = list(leaves.values())
            grads = torch.autograd.grad(F.cross_entropy(out.logits, labels), inputs, allow_unused=True)
        return with_zeros(grads, inputs)
