"""The state of the inner loop, explicit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from torch import Tensor


class InnerState(NamedTuple):
    """Variables, first and second moments (in the order of `Step.names`), steps taken, and the hook's own state."""

    params: tuple[Tensor, ...]
    exp_avg: tuple[Tensor, ...]
    exp_avg_sq: tuple[Tensor, ...]
    step: int
    extra: tuple[Tensor, ...] = ()

    def map(self, change: Callable[[Tensor], Tensor]) -> InnerState:
        """The same state with every tensor changed."""
        return self.replaced([change(t) for t in self.tensors])

    def leaves(self) -> InnerState:
        """A copy that shares memory, cut off from any graph, from which a new graph can grow."""
        return self.map(lambda t: t.detach().requires_grad_())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in one row: variables, first moments, second moments, the hook's."""
        return (*self.params, *self.exp_avg, *self.exp_avg_sq, *self.extra)

    def replaced(self, tensors: Sequence[Tensor]) -> InnerState:
        """A state of the same make from another row of tensors."""
        rest, lengths = iter(tensors), (len(self.params), len(self.exp_avg), len(self.exp_avg_sq))
        params, exp_avg, exp_avg_sq = (tuple(islice(rest, n)) for n in lengths)
        return InnerState(params, exp_avg, exp_avg_sq, self.step, tuple(rest))
