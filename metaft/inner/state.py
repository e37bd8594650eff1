"""The explicit state of an inner loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class State(Protocol):
    """What a step takes and returns, as a flat sequence of tensors."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that are differentiated, in one flat tuple."""
        ...

    @property
    def params(self) -> tuple[Tensor, ...]:
        """Those of `tensors` that a loss depends on."""
        ...

    def replaced(self, tensors: Sequence[Tensor], /) -> Self:
        """A state of the same structure with other tensors, in the order of `tensors`."""
        ...

    def map(self, change: Callable[[Tensor], Tensor], /) -> Self:
        """The same state with every tensor changed."""
        ...

    def leaves(self) -> Self:
        """A copy that shares memory, cut off from any graph, from which a new graph can grow."""
        ...


S = TypeVar("S", bound=State)


class _Row:
    """The methods of a state that follow from `tensors` and `replaced`."""

    def map(self: S, change: Callable[[Tensor], Tensor]) -> S:
        return self.replaced([change(t) for t in self.tensors])

    def leaves(self: S) -> S:
        return self.map(lambda t: t.detach().requires_grad_())


@dataclass(frozen=True)
class InnerState(_Row):
    """Variables, first and second moments (in the order of `Step.names`), steps taken, and the hook's state."""

    params: tuple[Tensor, ...]
    exp_avg: tuple[Tensor, ...]
    exp_avg_sq: tuple[Tensor, ...]
    step: int
    extra: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Variables, first moments, second moments, the hook's."""
        return (*self.params, *self.exp_avg, *self.exp_avg_sq, *self.extra)

    def replaced(self, tensors: Sequence[Tensor]) -> InnerState:
        """A state of the same structure with other tensors, in the order of `tensors`."""
        rest, lengths = iter(tensors), (len(self.params), len(self.exp_avg), len(self.exp_avg_sq))
        params, exp_avg, exp_avg_sq = (tuple(islice(rest, n)) for n in lengths)
        return InnerState(params, exp_avg, exp_avg_sq, self.step, tuple(rest))


class Place(int):
    """Where a tensor stands in a state, by its number among those that differ."""


@dataclass(frozen=True)
class Tree(_Row):
    """A state made of any nested tuples, lists and dicts; contents other than floating-point tensors are kept.

    Args:
        others: the contents in order, with its `Place` for each tensor; one that stands in two is one.
        structure: how they nest.
    """

    tensors: tuple[Tensor, ...]
    others: tuple[Any, ...]
    structure: Any

    @classmethod
    def of(cls, nested: Any) -> Tree:
        """The contents of a nested state."""
        contents, structure = pytree.tree_flatten(nested)
        tensors = {id(x): x for x in contents if is_real(x)}
        places = {key: Place(number) for number, key in enumerate(tensors)}
        return cls(tuple(tensors.values()), tuple(places.get(id(x), x) for x in contents), structure)

    @property
    def nested(self) -> Any:
        """The state as it was given."""
        contents = [self.tensors[x] if isinstance(x, Place) else x for x in self.others]
        return pytree.tree_unflatten(contents, self.structure)

    @property
    def params(self) -> tuple[Tensor, ...]:
        """All tensors: nothing says which of them a loss depends on."""
        return self.tensors

    def replaced(self, tensors: Sequence[Tensor]) -> Tree:
        """A state of the same structure with other tensors, in the order of `tensors`."""
        return replace(self, tensors=tuple(tensors))


def is_real(x: Any) -> bool:
    """Whether something is a tensor of floating-point numbers."""
    return isinstance(x, torch.Tensor) and x.is_floating_point()
