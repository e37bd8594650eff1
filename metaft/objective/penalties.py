"""Penalties on the parameters: theta trained, theta_0 pretrained, N trained scalars in all.

Each function is the plain sum. Its registered scale makes a weight mean the same for models of any size:

* l1: 1 / sqrt(N). The gradient of sum |theta| is a vector of N signs, of length sqrt(N); scaled, of length 1.
* l2: 1. The gradient of sum (theta - theta_0)^2 has length 2 |theta - theta_0|, about 1 after a fine-tune; L2-SP takes
  half of this sum, so that a weight here is half of its alpha. That of sum theta^2 has length 2 |theta_0|, which grows
  with the model; so its searched range is over |theta_0| (`metaft.search.problem.scales.sizes`).

A classification loss has gradients of length about 0.1 to 10, so weights in [1e-4, 10] go from negligible to
dominant. AutoFT's released code divides all four by N instead (`objective.penalty_scale: released`), which leaves
gradients of length 1 / sqrt(N) or less and hence weights that do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metaft.objective.state import StepState
from metaft.tensors import Tensors, dot, with_zeros


@dataclass(frozen=True)
class Power:
    """A penalty: sum |theta - origin|^power over all parameters, with theta_0 or 0 as the origin.

    Args:
        power: 1, whose gradient is 0 at the origin, or 2, without a factor 1/2.
        init: whether the origin is theta_0.
    """

    power: int
    init: bool

    def __call__(self, s: StepState) -> Tensor:
        """The value, []."""
        return values_of((self,), s)[0]


def values_of(powers: Sequence[Power], s: StepState) -> Tensor:
    """The values of several penalties [len(powers)], in one pass over the parameters and one node of the graph."""
    if not s.params:
        raise ValueError("params: empty; allowed: at least one parameter")
    origins = [s.pretrained[k] for k in s.params] if any(power.init for power in powers) else []
    return cast(Tensor, _Values.apply(tuple(powers), len(s.params), *s.params.values(), *origins))


# L1 and squared L2 norm. Source: AutoFT, released code, learnedloss.py (there divided by N).
l1zero, l2zero = Power(1, init=False), Power(2, init=False)
# Distances in L1 (AutoFT) and squared L2. Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018,
# eq. 3 (L2-SP); both in AutoFT (over N).
l1init, l2init = Power(1, init=True), Power(2, init=True)


class _Values(torch.autograd.Function):
    """The values of powers of n tensors p, with as many origins or none, as one node that stores nothing but them."""

    @staticmethod
    def forward(powers: tuple[Power, ...], n: int, *tensors: Tensor) -> Tensor:
        at = _Points(n, tensors)
        norms = [torch.stack(torch._foreach_norm(at.of(power), power.power)) for power in powers]
        sums = [x.sum() if power.power == 1 else x.square().sum() for power, x in zip(powers, norms, strict=True)]
        return torch.stack(sums)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.powers, ctx.n, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        slopes = _Slopes.apply(ctx.powers, ctx.n, adjoint, *ctx.saved_tensors)
        return (None, None, *slopes, *[None] * (len(ctx.saved_tensors) - ctx.n))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *tangents: Tensor | None) -> Tensor:
        at = _Points(ctx.n, ctx.saved_tensors)
        moves = with_zeros(tangents[: ctx.n], at.params)
        return torch.stack([at.slope_along(power, moves) for power in ctx.powers]).to(at.params[0].dtype)


class _Slopes(torch.autograd.Function):
    """The derivative of <a, `_Values`> by each p: the sum of a sign(p - origin) and of 2 a (p - origin)."""

    @staticmethod
    def forward(powers: tuple[Power, ...], n: int, a: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_Points(n, tensors).combined(powers, a.tolist()))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.powers, ctx.n, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        a, *tensors = ctx.saved_tensors
        at = _Points(ctx.n, tensors)
        b = with_zeros(adjoints, at.params)
        d_a = torch.stack([at.slope_along(power, b) for power in ctx.powers]).to(a.dtype)
        d_p = torch._foreach_mul(b, _bend(ctx.powers, a))
        return (None, None, d_a, *d_p, *[None] * (len(tensors) - ctx.n))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, d_a: Tensor | None, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        a, *tensors = ctx.saved_tensors
        at = _Points(ctx.n, tensors)
        moved = at.combined(ctx.powers, torch.zeros_like(a).tolist() if d_a is None else d_a.tolist())
        torch._foreach_add_(moved, with_zeros(tangents[: ctx.n], at.params), alpha=_bend(ctx.powers, a))
        return tuple(moved)


def _bend(powers: Sequence[Power], a: Tensor) -> float:
    """The second derivative of <a, values> by any one number."""
    return sum((2.0 * x for power, x in zip(powers, a.tolist(), strict=True) if power.power == 2), 0.0)


class _Points:
    """Parameters, and how far they are from their origins."""

    def __init__(self, n: int, tensors: Sequence[Tensor]) -> None:
        self.params, origins = list(tensors[:n]), list(tensors[n:])
        self._moved = torch._foreach_sub(self.params, origins) if origins else None

    def of(self, power: Power) -> Tensors:
        """theta - origin."""
        return self.params if not power.init or self._moved is None else self._moved

    def direction(self, power: Power) -> Tensors:
        """The derivative of a penalty over its power: sign(theta - origin), or theta - origin."""
        return torch._foreach_sign(self.of(power)) if power.power == 1 else self.of(power)

    def slope_along(self, power: Power, moves: Tensors) -> Tensor:
        """The derivative of a penalty along a direction, []."""
        return power.power * dot(self.direction(power), moves)

    def combined(self, powers: Sequence[Power], weights: Sequence[float]) -> Tensors:
        """The weighted sum of the derivatives of penalties."""
        factors = [power.power * weight for power, weight in zip(powers, weights, strict=True)]
        total = torch._foreach_mul(self.direction(powers[0]), factors[0])
        for power, factor in zip(powers[1:], factors[1:], strict=True):
            torch._foreach_add_(total, self.direction(power), alpha=factor)
        return total
