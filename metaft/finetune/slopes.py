"""Gradients of cross-entropy outside of training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metaft.clip.classifier import Classifier
from metaft.data.types import Batch
from metaft.tensors import Tensors, with_zeros


def slope(model: Classifier, values: Mapping[str, Tensor], batch: Batch) -> Tensors:
    """The gradient of the mean cross-entropy on a batch by each named parameter, at these values."""
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        out = functional_call(model, leaves, (batch.images,))
        inputs = list(leaves.values())
        grads = torch.autograd.grad(F.cross_entropy(out.logits, batch.labels), inputs, allow_unused=True)
    return with_zeros(grads, inputs)
