"""Lists of tensors as one long vector, and what tells tensors apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

Tensors = tuple[Tensor, ...] | list[Tensor]
PIECES = 8  # that long lists of tensors are gone through in


def dot(a: Tensors, b: Tensors) -> Tensor:
    """sum_i <a_i, b_i>, [], summed in float64 over the tensors."""
    return torch.stack(dots(a, b)).double().sum()


def dots(a: Tensors, b: Tensors) -> list[Tensor]:
    """<a_i, b_i> for each i."""
    return [torch.dot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True)]


def in_pieces(function: Callable[..., Sequence[list[Tensor]]], *lists: Sequence[Tensor]) -> list[list[Tensor]]:
    """A function of lists of n tensors to lists of them, a piece of all at a time: what comes and goes in it is small.

    >>> in_pieces(lambda a, b: [torch._foreach_add(a, b)], [torch.tensor(1.0)] * 2, [torch.tensor(2.0)] * 2)
    [[tensor(3.), tensor(3.)]]
    """
    found = [function(*(tensors[first:last] for tensors in lists)) for first, last in _pieces(lists[0])]
    return [list(chain.from_iterable(parts)) for parts in zip(*found, strict=True)]


def _pieces(tensors: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Where pieces of about the same size begin and end."""
    least, bounds, size = sum(t.numel() for t in tensors) / PIECES, [0], 0
    for end, tensor in enumerate(tensors, 1):
        size += tensor.numel()
        if size >= least or end == len(tensors):
            bounds.append(end)
            size = 0
    return pairwise(bounds)


def used_up(function: Callable[..., Tensor], *lists: list[Tensor]) -> list[Tensor]:
    """A function of the tensors in each place of some lists, which are emptied on the way: a tensor comes, one goes.

    >>> a, b = [torch.tensor(1.0)], [torch.tensor(2.0)]
    >>> used_up(torch.add, a, b), a, b
    ([tensor(3.)], [], [])
    """
    for tensors in lists:
        tensors.reverse()
    return [function(*(tensors.pop() for tensors in lists)) for _ in range(len(lists[0]))]


def lengths(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm of each tensor, [n]; its derivative at 0 is 0."""
    return torch.stack([torch.linalg.vector_norm(t) for t in tensors])


def pulled(values: Sequence[Tensor], adjoints: Sequence[Tensor], inputs: Sequence[Tensor], **how: bool) -> Tensors:
    """The derivative of <values, adjoints> by each input, 0 where there is none; values may be no part of a graph.

    Args:
        how: further arguments of `torch.autograd.grad`.
    """
    pairs = [(y, a) for y, a in zip(values, adjoints, strict=True) if y.requires_grad]
    ys, weights = [y for y, _ in pairs], [a for _, a in pairs]
    return torch.autograd.grad(ys, inputs, weights, allow_unused=True, materialize_grads=True, **how)


def with_zeros(tensors: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensors:
    """The tensors, with zeros in place of each that is None, in the shape of its twin in `like`."""
    return [torch.zeros_like(x) if t is None else t for t, x in zip(tensors, like, strict=True)]


def without_gradient(p: Tensor, part: slice) -> Tensor:
    """A tensor, of which no derivative reaches a part."""
    return torch.cat([p[: part.start], p[part].detach(), p[part.stop :]])


_NOTES: list[Callable[[Tensor], None]] = []


@contextmanager
def noting_kept(note: Callable[[Tensor], None]) -> Iterator[None]:
    """A context in which each tensor that a graph keeps is noted."""
    _NOTES.append(note)
    try:
        with saved_tensors_hooks(kept, lambda tensor: tensor):
            yield
    finally:
        _NOTES.pop()


def kept(tensor: Tensor) -> Tensor:
    """A tensor as a graph keeps it where hooks on what it keeps are set; it is noted, whosever hooks these are."""
    for note in _NOTES:
        note(tensor)
    return tensor.detach()  # the tensor itself would hold the graph that holds it


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors by name: of their names, types, shapes and bits."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name]
        total.update(f"{name} {t.dtype} {list(t.shape)}\n".encode())
        total.update(raw(t))
    return total.hexdigest()


def raw(t: Tensor) -> memoryview:
    """The bytes of a tensor's numbers in their order; of one on the CPU nothing is copied."""
    return t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
