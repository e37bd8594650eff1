"""How strongly terms pull where a fine-tune begins, so that equal weights mean equal strength for any model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from metaft.inner.step import Step
from metaft.training.batches import TrainBatch

LIMIT = 1e3  # the most by which a term is scaled up or down


def sizes(step: Step) -> dict[str, float]:
    """By name, the weight at which a penalty whose pull grows with the model pulls as others do at weight 1.

    The gradient of sum theta^2 has length 2 |theta_0| at theta_0: 145 for the toy CLIP, 630 for a ViT-B/32, where a
    first loss at weight 10 would be 10^6. Over |theta_0| its length is 2, and l1's is 1. Two digits, so that any
    device finds the same.
    """
    length = _length(step, step.pretrained.values())
    return {"l2zero": float(f"{1 / length:.2g}")} if length > 0 else {}


def pulls(step: Step, batch: TrainBatch, recipe: Mapping[str, float], terms: Iterable[str]) -> dict[str, float]:
    """For each term |grad ce| / |grad term|, from one batch: the weight at which it pulls as hard as cross-entropy.

    Measured one step of the recipe away from theta_0, where terms that measure a distance from theta_0 have gradients
    too. A term without a gradient there gets 1.
    """
    state = step.plain(step.initial(), batch, recipe)

    def norm(term: str) -> float:
        params = [p.detach().requires_grad_() for p in state.params]
        grads = torch.autograd.grad(step.loss(params, batch, {term: 1.0}), params, allow_unused=True)
        return _length(step, (g for g in grads if g is not None))

    unit = norm("ce")
    norms = {term: norm(term) for term in terms}
    return {term: min(max(unit / n, 1 / LIMIT), LIMIT) if n > 0 else 1.0 for term, n in norms.items()}


def _length(step: Step, tensors: Iterable[Tensor]) -> float:
    """The length of tensors that a step holds, as one vector."""
    return float(step.layout.norm(torch.stack([t.norm() for t in tensors]).norm()))
