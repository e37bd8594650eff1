"""Gradients of a batch that is cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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


def recomputed(
    gradient: Callable[..., Sequence[Tensor | None]], params: Sequence[Tensor], batch: Any, h: Mapping[str, Any]
) -> tuple[Tensor | None, ...]:
    """gradient(params, batch, h, graph=False), differentiable in the tensors: its graph is built anew for that."""
    names = [name for name, value in h.items() if isinstance(value, Tensor)]

    def at(*inputs: Tensor, graph: bool) -> Sequence[Tensor | None]:
        values = dict(zip(names, inputs[len(params) :], strict=True))
        return gradient(inputs[: len(params)], batch, {**h, **values}, graph=graph)

    return cast("tuple[Tensor | None, ...]", _Recomputed.apply(at, *params, *(h[name] for name in names)))


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
