"""Hypergradients by the implicit function theorem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HypergradConfig
from metaft.errors import ConfigError, Fault
from metaft.inner.attention import second_order_attention
from metaft.inner.loop import Estimator, Gradients, HasLoss, HasLossOfState, Loop, Trace, outer_adjoint
from metaft.inner.registry import LINEAR_SOLVERS
from metaft.inner.solvers import ConjugateGradients, LinearSolver
from metaft.inner.state import State
from metaft.progress import warn_once
from metaft.tensors import Tensors, with_zeros


@dataclass(frozen=True)
class Implicit(Estimator):
    """The hypergradient at a stationary point of the inner loss, by the implicit function theorem.

        d/dh = - d/dh <grad L(theta_T, h), v>,  (H + damping I) v = d outer / d theta,  H the Hessian of L

    on the last batch. It is exact where grad L(theta_T, h) = 0 and H is positive definite; the learning rate and weight
    decay do not appear. The step has L as its method `loss`. Where H is not positive definite along d outer / d theta
    there is none, which is told, and NaN.

    Args:
        solve: the linear solver.
        damping: added to every eigenvalue of H.

    Raises:
        TypeError: when called on a loop whose step has no method `loss`.
        ConfigError: when called on one whose loss is not one number, hangs on nothing, or is linear in the state.

    Source: Pedregosa, Hyperparameter optimization with approximate gradient, ICML 2016 (CG); Lorraine et al., AISTATS
    2020 (Neumann).

    >>> from metaft import differentiate
    >>> class Newton:  # of (x - target)^2 + h x^2, whose minimum is target / (1 + h)
    ...     def loss(self, x, target, h):
    ...         return (x - target) ** 2 + h["pull"] * x**2
    ...     def __call__(self, x, target, h):
    ...         return 0 * x + target / (1 + h["pull"])
    >>> h, start = {"pull": torch.tensor(1.0)}, torch.zeros(())
    >>> _, slopes = differentiate(Newton(), start, [1.0], h, lambda x: x, Implicit())
    >>> slopes["pull"].item()  # - target / (1 + h)^2
    -0.25
    """

    solve: LinearSolver = field(default_factory=ConjugateGradients)
    damping: float = 0.0

    @classmethod
    def of(cls, settings: HypergradConfig) -> Implicit:
        """The estimator with the linear solver and the damping of the settings."""
        return cls(LINEAR_SOLVERS[settings.linear_solver].make(settings), settings.damping)

    @property
    def products(self) -> int:  # type: ignore[override]
        """The solver's products at most, and one for the mixed derivative."""
        return self.solve.iterations + 1

    def swept(self, loop: Loop) -> Loop:
        """The last step, whose gradient has a graph."""
        return loop.last(1)

    def cost(self, loop: Loop) -> float:
        """One step equivalent per step, one for the gradient at the end, two for each product."""
        return len(loop.batches) + 1 + 2.0 * self.products

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and its derivative; the trace stays empty."""
        if not isinstance(loop.step, HasLoss | HasLossOfState):
            raise TypeError("step: has no `loss(params, batch, h)`; `implicit` needs the inner loss")
        state = loop.plain(loop.state, 0, len(loop.batches))
        value, adjoint = outer_adjoint(loop.outer, state)
        end, h = state.leaves(), {k: x.detach().requires_grad_() for k, x in loop.h.items()}
        params = end.params
        with second_order_attention():
            loss = _checked(_loss_at(loop.step, end, loop.batches[-1], h))
            slopes = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True, materialize_grads=True)
        live = [i for i, g in enumerate(slopes) if g.requires_grad]
        grads, inputs = [slopes[i] for i in live], [params[i] for i in live]
        if not live:
            raise _straight()

        def hessian(vector: Tensors) -> Tensors:
            pulled = torch.autograd.grad(grads, inputs, list(vector), retain_graph=True, allow_unused=True)
            if not self.damping and all(x is None for x in pulled):
                raise _straight()
            return torch._foreach_add(list(with_zeros(pulled, inputs)), list(vector), alpha=self.damping)

        along = [adjoint.params[i] for i in live]
        solution = self.solve(hessian, along)
        if not any(bool(x.any()) for x in solution) and any(bool(x.any()) for x in along):
            warn_once(
                "implicit: the inner loss is not convex where it ends; hypergrad.damping may help, unroll is exact"
            )
            return value, {name: torch.full_like(x, math.nan) for name, x in h.items()}
        pulled = torch.autograd.grad(grads, list(h.values()), solution, allow_unused=True, materialize_grads=True)
        return value, {name: -x for name, x in zip(h, pulled, strict=True)}


def _loss_at(step: HasLoss | HasLossOfState, end: State, batch: Any, h: Mapping[str, Tensor]) -> Tensor:
    if isinstance(step, HasLossOfState):
        return step.loss_at(end, batch, h)
    return step.loss(end.params, batch, h)


def _checked(loss: object) -> Tensor:
    """The inner loss.

    Raises:
        ConfigError: it is not one number, or no graph leads to it.
    """
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        found = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, torch.Tensor) else repr(loss)
        raise ConfigError([Fault("loss", found, "a tensor of shape []")])
    if not loss.requires_grad:
        raise ConfigError([Fault("loss", "a loss that does not depend on the state", "one that does, differentiably")])
    return loss


def _straight() -> ConfigError:
    straight = "'implicit', for an inner loss that is linear in the state, which has no stationary point"
    return ConfigError([Fault("hypergrad.estimator", straight, "unroll")])
