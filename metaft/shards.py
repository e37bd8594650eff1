"""Shards: tensors of which every rank holds a part, beside those that all have and those that are a rank's own.

    shard r of p: numbers r s to (r + 1) s of p as a vector, filled up with zeros, [s],  s = ceil(n / R)

`joined` puts shards together for a rank to compute with alone; its derivative sums over the ranks, and each keeps its
shard of the sum. The derivative of that joins again, so that the pair is closed, as those of `metaft.apart` are.

What is done number by number, such as a step of AdamW, is done on shards as on tensors: zeros that fill up have no
gradient and stay. A sum over the numbers of tensors is one over shards and then over the ranks.

Source: Rajbhandari et al., ZeRO, arXiv 1910.02054, section 5 (its third stage); Zhao et al., PyTorch FSDP, arXiv
2304.11277, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import Function

from metaft.apart import summed, where_any
from metaft.ranks import count, gathered, leads, number


class Whole:
    """How a training holds tensors by name: as they are, on every rank."""

    sharded = False

    def held(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What this rank holds of whole tensors."""
        return dict(tensors)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is held as whole tensors, on all ranks."""
        return dict(tensors)

    def written(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is held as whole tensors, on the first rank, which alone writes."""
        return dict(tensors)

    def total(self, value: Tensor) -> Tensor:
        """A sum over the numbers of tensors from that over what is held; differentiable."""
        return value

    def everywhere(self, holds: bool) -> bool:
        """Whether something holds for tensors that holds for what is held."""
        return holds

    def norm(self, tensors: Iterable[Tensor]) -> Tensor:
        """The L2 norm of tensors as one vector, []."""
        return torch.nn.utils.get_total_norm(tensors)


@dataclass(frozen=True)
class Shards(Whole):
    """How a training holds tensors of these shapes by name: a shard of each; they are put together one at a time."""

    shapes: Mapping[str, torch.Size]
    sharded = True

    def held(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This rank's shards."""
        return {name: _shard(t) for name, t in tensors.items()}

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors from shards, on all ranks."""
        return {name: _assembled([t.detach()], [self.shapes[name]])[0] for name, t in tensors.items()}

    def written(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors from shards, in main memory of the first rank; on the others shards."""
        found = {}
        for name, t in tensors.items():
            whole = _assembled([t.detach()], [self.shapes[name]])[0]
            found[name] = whole.cpu() if leads() else t
        return found

    def total(self, value: Tensor) -> Tensor:
        """The sum over the ranks."""
        return summed(value)

    def everywhere(self, holds: bool) -> bool:
        """Whether it holds on all ranks."""
        return all(gathered(holds))

    def norm(self, tensors: Iterable[Tensor]) -> Tensor:
        """The L2 norm of all shards of all ranks as one vector, []."""
        return summed(super().norm(tensors).square()).sqrt()


def joined(shards: Sequence[Tensor], shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
    """Tensors from their shards by one exchange, in one memory, for this rank to compute with alone.

    Args:
        shards: of one type of number.
    """
    whole: tuple[Tensor, ...] = _Joined.apply(tuple(shapes), *shards)
    return whole


class _Joined(Function):
    """Whole tensors from shards; the derivative is `_Parted`."""

    @staticmethod
    def forward(ctx: Any, shapes: tuple[torch.Size, ...], *shards: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(_assembled(shards, shapes))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, *where_any(_Parted, grads))


class _Parted(Function):
    """This rank's shards of the sum over the ranks of tensors that each has computed alone; the derivative joins."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.shapes = tuple(t.shape for t in tensors)
        ctx.set_materialize_grads(False)
        rows = torch.cat([_rows(t) for t in tensors], dim=1)
        mine = rows.new_empty(rows.shape[1])
        dist.reduce_scatter_tensor(mine, rows.flatten())
        return tuple(mine.split([_size(t.shape) for t in tensors]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [(g, shape) for g, shape in zip(grads, ctx.shapes, strict=True) if g is not None]
        found = iter(joined(*zip(*there, strict=True)) if there else ())
        return tuple(None if g is None else next(found) for g in grads)


def _size(shape: torch.Size) -> int:
    """The numbers in a shard."""
    return -(-shape.numel() // count())


def _rows(t: Tensor) -> Tensor:
    """All shards of a tensor, [R, s]."""
    spare = count() * _size(t.shape) - t.numel()
    return torch.nn.functional.pad(t.reshape(-1), (0, spare)).view(count(), -1)


def _shard(t: Tensor) -> Tensor:
    return _rows(t)[number()].clone()


def _assembled(shards: Sequence[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Whole tensors, in one memory, in which each has its place whatever the ranks."""
    sizes = [_size(shape) for shape in shapes]
    sent = torch.cat([s.detach() for s in shards])
    received = sent.new_empty(count() * len(sent))
    dist.all_gather_into_tensor(received, sent)
    places = torch.empty_like(received).split([count() * size for size in sizes])
    for place, rows in zip(places, received.view(count(), -1).split(sizes, dim=1), strict=True):
        place.view(count(), -1).copy_(rows)
    return [place[: shape.numel()].view(shape) for place, shape in zip(places, shapes, strict=True)]
