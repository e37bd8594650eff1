"""Penalties on the parameters: theta trained, theta_0 pretrained, N trained scalars in all.

Each function is the plain sum. Its registered scale makes a weight mean the same for models of any size:

* l1: 1 / sqrt(N). The gradient of sum |theta| is a vector of N signs, of length sqrt(N); scaled, of length 1.
* l2: 1. The gradient of sum (theta - theta_0)^2 has length 2 |theta - theta_0|, about 1 after a fine-tune; this is
  L2-SP's own convention.

A classification loss has gradients of length about 0.1 to 10, so weights in [1e-4, 10] go from negligible to
dominant. AutoFT's released code divides all four by N instead (`objective.penalty_scale: released`), which leaves
gradients of length 1 / sqrt(N) or less and hence weights that do nothing.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metaft.objective.state import StepState
from metaft.tensors import dot, with_zeros


def _total(s: StepState, power: int, init: bool) -> Tensor:
    """sum |theta - theta_0|^power over all parameters, or sum |theta|^power."""
    if not s.params:
        raise ValueError("params: empty; allowed: at least one parameter")
    origins = [s.pretrained[k] for k in s.params] if init else []
    return cast(Tensor, _Power.apply(power, len(s.params), *s.params.values(), *origins))


class _Power(torch.autograd.Function):
    """sum |p - p0|^power over n tensors p and as many p0 (or none: 0), as one node that stores nothing but them."""

    @staticmethod
    def forward(power: int, n: int, *tensors: Tensor) -> Tensor:
        norms = torch.stack(torch._foreach_norm(_differences(n, tensors), power))
        return norms.sum() if power == 1 else norms.square().sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.power, ctx.n, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        slopes = _Slope.apply(ctx.power, ctx.n, adjoint, *ctx.saved_tensors)
        return (None, None, *slopes, *[None] * (len(ctx.saved_tensors) - ctx.n))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *tangents: Tensor | None) -> Tensor:
        tensors = ctx.saved_tensors
        slopes = _slopes(ctx.power, _differences(ctx.n, tensors), 1.0)
        return dot(slopes, with_zeros(tangents[: ctx.n], tensors[: ctx.n])).to(tensors[0].dtype)


class _Slope(torch.autograd.Function):
    """The derivative of `_Power` by each p, times a number a: a sign(p - p0), or 2 a (p - p0)."""

    @staticmethod
    def forward(power: int, n: int, a: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_slopes(power, _differences(n, tensors), a))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.power, ctx.n, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        a, *tensors = ctx.saved_tensors
        b = with_zeros(adjoints, tensors[: ctx.n])
        d_a = dot(_slopes(ctx.power, _differences(ctx.n, tensors), 1.0), b).to(a.dtype)
        d_p = torch._foreach_mul(b, 2 * a) if ctx.power == 2 else [None] * ctx.n
        return (None, None, d_a, *d_p, *[None] * (len(tensors) - ctx.n))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, d_a: Tensor | None, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        a, *tensors = ctx.saved_tensors
        moved = _slopes(ctx.power, _differences(ctx.n, tensors), 0.0 if d_a is None else d_a)
        if ctx.power == 2:
            moved = torch._foreach_add(
                moved, torch._foreach_mul(with_zeros(tangents[: ctx.n], tensors[: ctx.n]), 2 * a)
            )
        return tuple(moved)


def _differences(n: int, tensors: Any) -> Any:
    return torch._foreach_sub(list(tensors[:n]), list(tensors[n:])) if len(tensors) > n else list(tensors)


def _slopes(power: int, differences: Any, a: Tensor | float) -> Any:
    return torch._foreach_mul(differences if power == 2 else torch._foreach_sign(differences), power * a)


def l1zero(s: StepState) -> Tensor:
    """L1 norm: sum |theta|. Source: AutoFT, released code, learnedloss.py (there divided by N)."""
    return _total(s, 1, init=False)


def l2zero(s: StepState) -> Tensor:
    """Squared L2 norm: sum theta^2, without a factor 1/2. Source: AutoFT, released code (there divided by N)."""
    return _total(s, 2, init=False)


def l1init(s: StepState) -> Tensor:
    """L1 distance: sum |theta - theta_0|; its gradient at theta_0 is 0. Source: AutoFT (there divided by N)."""
    return _total(s, 1, init=True)


def l2init(s: StepState) -> Tensor:
    """Squared L2 distance: sum (theta - theta_0)^2, without a factor 1/2.

    Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018, eq. 3 (L2-SP); AutoFT (over N).
    """
    return _total(s, 2, init=True)
