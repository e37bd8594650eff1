"""Hypergradients by a reverse sweep: through all steps of the inner loop, or through the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HypergradConfig, StorageConfig
from metaft.inner.loop import Estimator, Gradients, Loop, Trace, outer_adjoint, plain
from metaft.inner.state import State
from metaft.inner.storage import Plan, planned
from metaft.inner.sweep import Link, Shelf


@dataclass(frozen=True)
class Unroll(Estimator):
    """The exact hypergradient, by a reverse sweep through every step of the inner loop.

        adj_T = d outer / d state_T;  adj_{t-1} = adj_t d state_t / d state_{t-1};  d/dh = sum_t adj_t d state_t / d h

    Each step's graph stands alone, so it can be kept or built again from its state. Where it is built again, the
    states are those of the plain run, which may use attention that has no second derivative.

    Args:
        storage: what is kept between the sweeps; the derivative is the same with all of them.

    Source: Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, ICML 2017, section 3.1.

    >>> from metaft import differentiate
    >>> def step(x, target, h):
    ...     return x - h["rate"] * (x - target)
    >>> h, start = {"rate": torch.tensor(0.5)}, torch.zeros(())
    >>> exact = Unroll(StorageConfig(storage="replay"))
    >>> _, slopes = differentiate(step, start, [1.0, 1.0], h, lambda x: x, exact)
    >>> slopes["rate"].item()  # of 1 - (1 - rate)^2
    1.0
    """

    storage: StorageConfig = field(default_factory=StorageConfig)

    @classmethod
    def of(cls, settings: HypergradConfig) -> Unroll:
        """With the storage of the settings."""
        return cls(settings)

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and its derivative."""
        return unrolled(loop, planned(loop, self.storage), trace or Trace())

    def cost(self, loop: Loop) -> float:
        """3 to 5 step equivalents per step, depending on whether its graph is kept or built again."""
        return planned(loop, self.storage).cost(len(loop.batches))


@dataclass(frozen=True)
class Truncated(Estimator):
    """The hypergradient through the last k steps alone: what h did to the state before them is left out.

    Args:
        last: k.
        storage: as for `Unroll`, of these steps.

    Source: Shaban et al., Truncated back-propagation for bilevel optimization, AISTATS 2019, section 3.

    >>> from metaft import differentiate
    >>> def step(x, target, h):
    ...     return x - h["rate"] * (x - target)
    >>> h, start = {"rate": torch.tensor(0.5)}, torch.zeros(())
    >>> _, slopes = differentiate(step, start, [1.0, 1.0], h, lambda x: x, Truncated(last=1))
    >>> slopes["rate"].item()  # half of the exact one
    0.5
    """

    last: int = 5
    storage: StorageConfig = field(default_factory=StorageConfig)

    @classmethod
    def of(cls, settings: HypergradConfig) -> Truncated:
        """With the last steps and the storage of the settings."""
        return cls(settings.last, settings)

    @classmethod
    def one_step(cls, settings: HypergradConfig) -> Truncated:
        """Through the last step (Luketina et al., Scalable gradient-based tuning, ICML 2016)."""
        return cls(1, settings)

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and the truncated derivative."""
        tail = self._tail(loop)
        state = loop.plain(loop.state, 0, len(loop.batches) - len(tail.batches))
        return Unroll(self.storage)(replace(tail, state=state), trace)

    def cost(self, loop: Loop) -> float:
        """One step equivalent for each step before the last k, and the cost of `Unroll` for the others."""
        tail = self._tail(loop)
        return len(loop.batches) - len(tail.batches) + Unroll(self.storage).cost(tail)

    def _tail(self, loop: Loop) -> Loop:
        """The last steps of a loop."""
        return replace(loop, batches=_After(loop.batches, max(0, len(loop.batches) - self.last)))


@dataclass(frozen=True)
class _After(Sequence[Any]):
    """A sequence without its first `skipped` items, none of them loaded."""

    items: Sequence[Any]
    skipped: int

    def __len__(self) -> int:
        return len(self.items) - self.skipped

    def __getitem__(self, number: Any) -> Any:
        return self.items[range(self.skipped, len(self.items))[number]]


def unrolled(loop: Loop, plan: Plan, trace: Trace) -> tuple[Tensor, Gradients]:
    """The outer loss and its exact derivative through all steps, with what a plan keeps of them."""
    device = loop.state.tensors[0].device
    shelf, steps = Shelf(plan.host), len(loop.batches)
    spans = [(a, min(a + plan.span, steps)) for a in range(0, steps, plan.span)]
    bounds = []
    state = loop.state.map(Tensor.detach)
    for first, last in spans[:-1]:
        bounds.append(shelf.put(state))
        state = loop.plain(state, first, last)
    tape, state = _recorded(loop, plan, state, *spans[-1], shelf)
    value, adjoint = outer_adjoint(loop.outer, state)
    totals = {name: torch.zeros_like(x) for name, x in loop.h.items()}
    for first, last in reversed(spans):
        if not tape:
            tape, _ = _recorded(loop, plan, shelf.take(bounds.pop(), device), first, last, shelf)
        for t in reversed(range(first, last)):
            kept = tape.pop()
            link = kept if isinstance(kept, Link) else _link(loop, shelf.take(kept, device), t)
            trace.note(t + 1, adjoint)
            trace.link(t + 1, link.start, link.batch, adjoint)
            adjoint = link.pull(adjoint, totals)
            del link, kept  # before the next graph is built
    trace.note(0, adjoint)
    return value, totals


def _recorded(
    loop: Loop, plan: Plan, state: State, first: int, last: int, shelf: Shelf
) -> tuple[list[Link | State], State]:
    """Steps first + 1 to last; for each its graph or the state it starts from."""
    tape: list[Link | State] = []
    for t in range(first, last):
        if t >= len(loop.batches) - plan.graphs:
            link = _link(loop, state, t)
            tape.append(link)
            state = link.end.map(Tensor.detach)
        else:
            tape.append(shelf.put(state))
            state = plain(loop.step, state, loop.batches[t], loop.h)
    return tape, state


def _link(loop: Loop, state: State, t: int) -> Link:
    return Link(loop.step, state, loop.batches[t], loop.h)
