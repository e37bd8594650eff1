"""Gradients of a batch that is cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor


def mean(parts: Iterable[tuple[float, Sequence[Tensor | None]]]) -> list[Tensor | None]:
    """The sum of gradients, each times its share."""
    total: list[Tensor | None] | None = None
    for share, grads in parts:
        scaled = [g if g is None or share == 1 else share * g for g in grads]
        total = scaled if total is None else [_sum(t, g) for t, g in zip(total, scaled, strict=True)]
    assert total is not None
    return total


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def recomputed(gradient: Callable[..., Sequence[Tensor | None]], *inputs: Tensor) -> tuple[Tensor | None, ...]:
    """gradient(*inputs, graph=False), differentiable: its graph is built anew when it is differentiated."""
    return cast("tuple[Tensor | None, ...]", _Recomputed.apply(gradient, *inputs))


class _Recomputed(torch.autograd.Function):
    """gradient(*inputs), without a graph; its own derivative builds one, uses it and drops it."""

    @staticmethod
    def forward(ctx: Any, gradient: Callable[..., Sequence[Tensor | None]], *inputs: Tensor) -> Any:
        ctx.gradient = gradient
        ctx.save_for_backward(*inputs)
        with torch.enable_grad():
            return gradient(*(x.detach().requires_grad_() for x in inputs), graph=False)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            pairs = zip(ctx.gradient(*leaves, graph=True), adjoints, strict=True)
            live = [(g, a) for g, a in pairs if g is not None and a is not None and g.requires_grad]
            pulled = torch.autograd.grad([g for g, _ in live], leaves, [a for _, a in live], allow_unused=True)
        return None, *pulled
