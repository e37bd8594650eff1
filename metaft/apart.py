"""What ranks compute apart: each its rows of a batch, and derivatives as if one process had computed all.

Every rank holds all parameters and takes the same steps. Of a batch each runs the model on its own rows alone; then all
have the outputs of all rows, and compute losses, penalties, updates and choices from them alike, as one process does:

    rank r:   z_r = f(theta_r, x_r)      theta_r = each(theta)      z = together(z_r)      loss(z, theta, h)

`each` is the identity, and its derivative sums over the ranks; `together` puts rows one after the other, and its
derivative takes a rank's own; either's derivative is differentiable in the same way. So first and second derivatives,
in reverse or forward mode, are those of one process up to the order of sums: with g the gradient and H the Hessian of
the whole batch, every rank has g and H a in full.

Source: the pair of operators f and g of Shoeybi et al., Megatron-LM, arXiv 1909.08053, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

from metaft.clip.classifier import Outputs
from metaft.ranks import count, number


def apart(
    run: Callable[..., Sequence[Tensor | None]],
    params: Mapping[str, Tensor],
    images: Tensor,
    tokens: Tensor | None,
    *,
    sharded: bool = False,
) -> list[Tensor | None]:
    """The outputs of a model on a batch, of which every rank computes its own rows; as differentiable as the model.

    Args:
        run: (params, images, tokens) to `Outputs`, or a list of the same.
        params: what the outputs are differentiated by, by name.
        sharded: whether they are shards, which the model joins (see `metaft.shards`).
    """
    least = len(images) if tokens is None else min(len(images), len(tokens))
    if count() == 1 or (least < count() and not sharded):
        return list(run(params, images, tokens))
    if least < count():  # every rank computes all rows, as if a part of each
        return [None if t is None else _mean(t) for t in run(params, images, tokens)]
    mine = params if sharded else each(params)
    outputs = run(mine, _own(images), None if tokens is None else _own(tokens))
    totals = _rows_by_output(len(images), 0 if tokens is None else len(tokens))
    return [_whole(t, total) for t, total in zip(outputs, totals, strict=True)]


def _rows_by_output(images: int, texts: int) -> list[int]:
    """How many rows each of a model's outputs has in all; none may be told by its length, which may be that of both."""
    return [texts if name == "text_features" else images for name in Outputs._fields]


def _whole(own: Tensor | None, total: int) -> Tensor | None:
    """An output of all ranks from a rank's own; a number, as the scale is, stays one."""
    if own is None:
        return None
    whole: Tensor = _mean(own) if own.dim() == 0 else _Together.apply(own, total)
    return whole


def each(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that every rank has, for it to compute with alone: their derivatives are those of all ranks together."""
    return dict(zip(tensors, _Each.apply(*tensors.values()), strict=True)) if tensors else {}


def _own(rows: Tensor) -> Tensor:
    """This rank's part of some rows."""
    return rows.tensor_split(count())[number()]


def _mean(value: Tensor) -> Tensor:
    """Numbers that every rank has, as one: their derivative is theirs together."""
    return summed(value / count())


def summed(value: Tensor) -> Tensor:
    """The sum over the ranks of what each has computed alone; differentiable."""
    total: tuple[Tensor] = _Sum.apply(value)
    return total[0]


class _Each(Function):
    """Tensors that every rank has, for it to compute with alone: the identity, whose derivative sums over the ranks."""

    @staticmethod
    def forward(ctx: FunctionCtx, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return where_any(_Sum, grads)

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if t is None else t.view_as(t) for t in tangents)


class _Sum(Function):
    """The sum over the ranks of what each has computed alone; its derivative is the same for each."""

    @staticmethod
    def forward(ctx: FunctionCtx, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _summed(tensors)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return where_any(_Each, grads)

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        return where_any(_Sum, tangents)


class _Together(Function):
    """All ranks' rows, one after the other; its derivative takes a rank's own."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, total: int) -> Tensor:
        ctx.total = total
        return _rows_of_all(mine, total)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Own.apply(grad), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, total: None) -> Tensor:
        whole: Tensor = _Together.apply(tangent, ctx.total)
        return whole


class _Own(Function):
    """This rank's part of rows that every rank has; its derivative puts those of all together."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.total = len(rows)
        return _own(rows).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        whole: Tensor = _Together.apply(grad, ctx.total)
        return whole

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        part: Tensor = _Own.apply(tangent)
        return part


def where_any(function: type[Function], tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """A function of those tensors that are there, each in its place."""
    there = [t for t in tensors if t is not None]
    found = iter(function.apply(*there) if there else ())
    return tuple(None if t is None else next(found) for t in tensors)


def _summed(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The sum over the ranks of each tensor, by one exchange for each type of number."""
    sums: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(t.dtype for t in tensors):
        places = [i for i, t in enumerate(tensors) if t.dtype == dtype]
        flat = torch.cat([tensors[i].reshape(-1) for i in places])
        dist.all_reduce(flat)
        parts = flat.split([tensors[i].numel() for i in places])
        sums |= {i: part.view(tensors[i].shape) for i, part in zip(places, parts, strict=True)}
    return tuple(sums[i] for i in range(len(tensors)))


def _rows_of_all(mine: Tensor, total: int) -> Tensor:
    """The rows of all ranks; those with one row less send one more that is left out."""
    sizes = [len(part) for part in torch.arange(total).tensor_split(count())]
    sent = mine.new_zeros((max(sizes), *mine.shape[1:]))
    sent[: len(mine)] = mine
    parts = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(parts, sent)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
