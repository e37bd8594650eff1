"""The exact hypergradient: a forward sweep through the inner loop and a reverse sweep back, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from metaft.inner.state import InnerState
from metaft.inner.storage import Plan, Shelf

Gradients = dict[str, Tensor]
Outer = Callable[[InnerState], Tensor]


class StepFunction(Protocol):
    """One differentiable step with explicit state."""

    def __call__(self, state: InnerState, batch: Any, h: Mapping[str, Tensor], /) -> InnerState:
        """The next state."""
        ...


@runtime_checkable
class PlainStep(Protocol):
    """A step that can also be taken without a graph, at the price of plain training."""

    def plain(self, state: InnerState, batch: Any, h: Mapping[str, Any], /) -> InnerState:
        """The next state, detached."""
        ...


@dataclass
class Trace:
    """What a reverse sweep saw.

    `lengths[t]` is the length of the adjoint d value / d params_t, from t = T down to 0; `link` is called with step t,
    the state it starts from, its batch and the adjoint of the state it ends in.
    """

    lengths: dict[int, Tensor] = field(default_factory=dict)
    link: Callable[[int, InnerState, Any, InnerState], None] = lambda *_: None

    def note(self, t: int, adjoint: InnerState) -> None:
        """The adjoint of the state after t steps."""
        self.lengths[t] = torch.stack(torch._foreach_norm(list(adjoint.params))).norm()


@runtime_checkable
class DualStep(Protocol):
    """A step that takes dual numbers at a lower price, without a graph for reverse mode."""

    def dual(self, state: InnerState, batch: Any, h: Mapping[str, Any], /) -> InnerState:
        """The next state, of dual numbers."""
        ...


def plain(step: StepFunction, state: InnerState, batch: Any, h: Mapping[str, Tensor]) -> InnerState:
    """One step without a graph that outlives it."""
    if isinstance(step, PlainStep):
        return step.plain(state, batch, h)
    return step(state.leaves(), batch, h).map(Tensor.detach)


class Link:
    """One step's graph, grown from its own leaves."""

    def __init__(self, step: StepFunction, state: InnerState, batch: Any, h: Mapping[str, Tensor]) -> None:
        self.start, self.batch = state.leaves(), batch
        self._h = {name: value.detach().requires_grad_() for name, value in h.items()}
        self.end = step(self.start, batch, self._h)

    def pull(self, adjoint: InnerState, totals: Gradients) -> InnerState:
        """The adjoint of the start from that of the end; the step's share of d/dh is added to the totals."""
        inputs = [*self.start.tensors, *self._h.values()]
        pairs = [(y, a) for y, a in zip(self.end.tensors, adjoint.tensors, strict=True) if y.requires_grad]
        pulled = torch.autograd.grad(
            [y for y, _ in pairs], inputs, [a for _, a in pairs], allow_unused=True, materialize_grads=True
        )
        count = len(self.start.tensors)
        for name, share in zip(self._h, pulled[count:], strict=True):
            totals[name] = totals[name] + share
        return self.start.replaced(pulled[:count])


@dataclass(frozen=True)
class Unrolled:
    """The inner loop of one hypergradient."""

    step: StepFunction
    batches: Sequence[Any]
    h: Mapping[str, Tensor]
    plan: Plan

    def run(self, state: InnerState, first: int, last: int) -> InnerState:
        """Steps first + 1 to last, without a graph."""
        for t in range(first, last):
            state = plain(self.step, state, self.batches[t], self.h)
        return state

    def record(
        self, state: InnerState, first: int, last: int, shelf: Shelf
    ) -> tuple[list[Link | InnerState], InnerState]:
        """Steps first + 1 to last; for each its graph or the state it starts from."""
        tape: list[Link | InnerState] = []
        for t in range(first, last):
            batch = self.batches[t]
            if t >= len(self.batches) - self.plan.graphs:
                link = Link(self.step, state, batch, self.h)
                tape.append(link)
                state = link.end.map(Tensor.detach)
            else:
                tape.append(shelf.put(state))
                state = plain(self.step, state, batch, self.h)
        return tape, state


def unrolled(loop: Unrolled, state: InnerState, outer: Outer, trace: Trace) -> tuple[Tensor, Gradients]:
    """The outer loss and its exact derivative through all steps.

    adj_T = d outer / d state_T;  adj_{t-1} = adj_t d state_t / d state_{t-1};  d/dh = sum_t adj_t d state_t / d h

    Each step's graph stands alone, so it can be kept or built again from its state. Where it is built again, the
    states are those of the plain run, which may use attention that has no second derivative.

    Source: Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, ICML 2017, section 3.1.
    """
    device = state.params[0].device
    shelf, steps = Shelf(loop.plan.host), len(loop.batches)
    spans = [(a, min(a + loop.plan.span, steps)) for a in range(0, steps, loop.plan.span)]
    bounds = []
    state = state.map(Tensor.detach)
    for first, last in spans[:-1]:
        bounds.append(shelf.put(state))
        state = loop.run(state, first, last)
    tape, state = loop.record(state, *spans[-1], shelf)
    value, adjoint = outer_adjoint(outer, state)
    totals = {name: torch.zeros_like(x) for name, x in loop.h.items()}
    for first, last in reversed(spans):
        if not tape:
            tape, _ = loop.record(shelf.take(bounds.pop(), device), first, last, shelf)
        for t in reversed(range(first, last)):
            kept = tape.pop()
            link = kept if isinstance(kept, Link) else _rebuilt(loop, shelf.take(kept, device), t)
            trace.note(t + 1, adjoint)
            trace.link(t + 1, link.start, link.batch, adjoint)
            adjoint = link.pull(adjoint, totals)
            del link, kept  # before the next graph is built
    trace.note(0, adjoint)
    return value, totals


def _rebuilt(loop: Unrolled, state: InnerState, t: int) -> Link:
    return Link(loop.step, state, loop.batches[t], loop.h)


def outer_adjoint(outer: Outer, state: InnerState) -> tuple[Tensor, InnerState]:
    """The outer loss, and its derivative by the state."""
    leaves = state.leaves()
    value = outer(leaves)
    pulled = torch.autograd.grad(value, leaves.tensors, allow_unused=True, materialize_grads=True)
    return value.detach(), state.replaced(pulled)
