"""Hypergradients by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from metaft.inner.loop import Loop
from metaft.inner.solvers import SOLVERS
from metaft.inner.step import second_order_attention
from metaft.inner.sweep import Gradients, outer_adjoint, plain
from metaft.objective.vectors import Tensors


def implicit(loop: Loop) -> tuple[Tensor, Gradients]:
    """The hypergradient at a stationary point of the inner loss, by the implicit function theorem.

    d/dh = - d/dh <grad L(theta_T, h), v>,  (H + damping I) v = d outer / d theta,  H the Hessian of L on the last batch

    Right where grad L(theta_T, h) = 0 and H is positive definite; the learning rate and weight decay do not appear.

    Source: Pedregosa, Hyperparameter optimization with approximate gradient, ICML 2016 (CG); Lorraine et al., AISTATS
    2020 (Neumann).
    """
    if not isinstance(loop.step, HasLoss):
        raise TypeError("step: has no `loss(params, batch, h)`; `implicit` needs the inner loss")
    state = loop.state
    for batch in loop.batches:
        state = plain(loop.step, state, batch, loop.h)
    value, adjoint = outer_adjoint(loop.outer, state)
    params, h = state.leaves().params, {k: x.detach().requires_grad_() for k, x in loop.h.items()}
    with second_order_attention():
        loss = loop.step.loss(params, loop.batches[-1], h)
        found = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True, materialize_grads=True)
    live = [i for i, g in enumerate(found) if g.requires_grad]
    grads, inputs = [found[i] for i in live], [params[i] for i in live]

    def hessian(vector: Tensors) -> Tensors:
        pulled = torch.autograd.grad(
            grads, inputs, list(vector), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return torch._foreach_add(list(pulled), list(vector), alpha=loop.options.damping)

    options = loop.options
    solution = SOLVERS[options.solver](hessian, [adjoint.params[i] for i in live], options.iterations, options.scale)
    pulled = torch.autograd.grad(grads, list(h.values()), solution, allow_unused=True, materialize_grads=True)
    return value, {name: -x for name, x in zip(h, pulled, strict=True)}


@runtime_checkable
class HasLoss(Protocol):
    """A step that shows the loss it descends."""

    def loss(self, params: Sequence[Tensor], batch: Any, h: Mapping[str, Any], /) -> Tensor:
        """The inner loss []."""
        ...
