"""Layer norm and GELU whose second derivatives are written by hand: torch composes them of many passes over memory.

Values and first derivatives are those of torch's own kernels, bit for bit. What `second_order_kernels` covers can be
differentiated twice in reverse mode, and no further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import Function, once_differentiable
from torch.overrides import TorchFunctionMode

ALONE = [True, False, False]  # of the derivatives of a layer norm that by its input


def second_order_kernels() -> AbstractContextManager[object]:
    """A context in which a model's layer norms and GELUs are those of this module, without autocast or forward mode."""
    return _Kernels()


class _Kernels(TorchFunctionMode):
    """Calls go to ours where there is one."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _OURS.get(func, func)(*args, **(kwargs or {}))


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.layer_norm`."""
    if _left_to_torch(input):
        return F.layer_norm(input, normalized_shape, weight, bias, eps)
    normed: Tensor = _LayerNorm.apply(input, list(normalized_shape), weight, bias, eps)
    return normed


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """`torch.nn.functional.gelu`."""
    if approximate != "none" or _left_to_torch(input):
        return F.gelu(input, approximate=approximate)
    rectified: Tensor = _Gelu.apply(input)
    return rectified


def _left_to_torch(input: Tensor) -> bool:
    """Whether autocast chooses precisions, or forward mode is on."""
    return torch.is_autocast_enabled(input.device.type) or forward_ad._current_level >= 0


_OURS: dict[Callable[..., Any], Callable[..., Any]] = {F.layer_norm: layer_norm, F.gelu: gelu}


class _LayerNorm(Function):
    """y = w n + b with n = r (x - mean x), r = (var x + eps)^-1/2, over the N numbers of the last dimensions."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        y, mean, r = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.save_for_backward(x, mean, r, weight, bias)
        ctx.shape = shape
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, r, weight, bias = ctx.saved_tensors
        asked = [True, *ctx.needs_input_grad[2:4]]
        by_x, by_weight, by_bias = _LayerNormSlope.apply(dy, x, ctx.shape, mean, r, weight, bias, asked)
        return by_x, None, by_weight, by_bias, None


class _LayerNormSlope(Function):
    """The derivatives of a layer norm: by x it is r P(w dy), with P(v) = v - mean(v) - n mean(n v).

    Along cotangents a of that, u of sum(dy n) and c of sum(dy), and with v = w dy and sums over the N numbers:

        by dy:  r w P(a) + u n + c                  by w:  the sum of dy r P(a)
        by x:   r P(u dy - (r / N) (a sum(n v) + v sum(n a))) - (r / N) n sum(v r P(a))

    The last summand is what comes through r: r P is symmetric, and d r / d x = - r^2 n / N.
    """

    @staticmethod
    def forward(
        ctx: Any,
        dy: Tensor,
        x: Tensor,
        shape: list[int],
        mean: Tensor,
        r: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        asked: list[bool],
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(dy, x, mean, r, weight)
        ctx.shape = shape
        slopes: tuple[Tensor | None, ...] = _slopes(dy, x, shape, mean, r, weight, bias, asked)
        return slopes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor, u: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, x, mean, r, weight = ctx.saved_tensors
        inside, outside = tuple(range(-len(ctx.shape), 0)), tuple(range(x.dim() - len(ctx.shape)))
        share = r / math.prod(ctx.shape)

        def projected(v: Tensor) -> Tensor:
            """r P(v)."""
            found: Tensor = _slopes(v, x, ctx.shape, mean, r, None, None, ALONE)[0]
            return found

        def along(v: Tensor, w: Tensor) -> Tensor:
            return (v * w).sum(inside, keepdim=True)

        n, v, by_v = (x - mean).mul_(r), dy if weight is None else weight * dy, projected(a)
        by_n = (a * along(n, v)).addcmul_(v, along(n, a)).mul_(-share)
        if u is not None:
            by_n.addcmul_(dy, u)
        by_x = projected(by_n).addcmul_(n, share * along(v, by_v), value=-1)
        by_weight = (dy * by_v).sum(outside) if ctx.needs_input_grad[5] else None
        by_dy = by_v if weight is None else by_v.mul_(weight)
        if u is not None:
            by_dy.addcmul_(n, u)
        if c is not None:
            by_dy.add_(c)
        return by_dy, by_x, None, None, None, by_weight, None, None


_slopes: Callable[..., Any] = torch.ops.aten.native_layer_norm_backward


class _Gelu(Function):
    """y = x Phi(x), with the normal distribution function Phi."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        slope: Tensor = _GeluSlope.apply(dy, *ctx.saved_tensors)
        return slope


class _GeluSlope(Function):
    """dy (Phi(x) + x phi(x)), whose derivative by x is dy phi(x) (2 - x^2)."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(dy, x)
        slope: Tensor = torch.ops.aten.gelu_backward(dy, x)
        return slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        dy, x = ctx.saved_tensors
        square = x * x
        by_x = (-0.5 * square).exp_().mul_(square.neg_().add_(2)).mul_(dy).mul_(a).mul_(1 / math.sqrt(2 * math.pi))
        return torch.ops.aten.gelu_backward(a, x), by_x
