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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import Function

from metaft.apart import summed, where_any
from metaft.config.schema import ComputeConfig, StepConfig
from metaft.errors import Fault
from metaft.ranks import count, gathered, leads, number

ALIGNED = 64  # numbers
# Their names in torch 2.14, and before
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Whole:
    """How steps hold tensors by name: as they are, on every rank."""

    sharded = False

    def held(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What this rank holds of whole tensors, detached."""
        return {name: t.detach() for name, t in tensors.items()}

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

    def norm(self, part: Tensor) -> Tensor:
        """The L2 norm of tensors as one vector, [], from that of what is held."""
        return part

    def shorten(self, variables: Sequence[Tensor], limit: float) -> None:
        """Shorten the gradients of what is held, where together they are longer than a limit, as torch does."""
        torch.nn.utils.clip_grad_norm_(variables, limit)


@dataclass(frozen=True)
class Shards(Whole):
    """How steps hold tensors of these shapes by name: a shard of each; they are put together one at a time."""

    shapes: Mapping[str, torch.Size]
    sharded = True

    def held(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This rank's shards."""
        return {name: _rows(t.detach())[number()].clone() for name, t in tensors.items()}

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

    def norm(self, part: Tensor) -> Tensor:
        """From that of this rank's shards."""
        return summed(part.square()).sqrt()

    def shorten(self, variables: Sequence[Tensor], limit: float) -> None:
        """Shorten gradients of shards by the length of all ranks' together."""
        grads = [v.grad for v in variables if v.grad is not None]
        length = self.norm(torch.stack(torch._foreach_norm(grads)).norm())
        torch._foreach_mul_(grads, (limit / (length + 1e-6)).clamp(max=1.0))


def sharded(settings: StepConfig | ComputeConfig) -> bool:
    """Whether steps with these settings hold shards."""
    return settings.shard and count() > 1


def refusal(field: str, method: str) -> Fault:
    """The fault of a method whose steps are not `entrywise` (see `metaft.hooks.hook`)."""
    return Fault(field, f"true, and {method} needs whole tensors in its steps", "false, or other methods")


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
        _reduce_scatter(mine, rows.flatten())
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


def _assembled(shards: Sequence[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Whole tensors, in one memory."""
    sizes = [_size(shape) for shape in shapes]
    sent = torch.cat([s.detach() for s in shards])
    received = sent.new_empty(count() * len(sent))
    _all_gather(received, sent)
    lengths = [count() * size for size in sizes]
    places = sent.new_empty(sum(map(_aligned, lengths))).split([*map(_aligned, lengths)])
    for place, length, rows in zip(places, lengths, received.view(count(), -1).split(sizes, dim=1), strict=True):
        place[:length].view(count(), -1).copy_(rows)
    return [place[: shape.numel()].view(shape) for place, shape in zip(places, shapes, strict=True)]


def _aligned(length: int) -> int:
    """So many numbers, and as many more as let the next tensor begin where a kernel likes it."""
    return -(-length // ALIGNED) * ALIGNED
