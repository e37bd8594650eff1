"""Reverse sweeps: their skeleton, graphs of one step or of its second half, and storage for states in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from metaft.inner.loop import Gradients, HalvedStep, Loop, StepFunction, Trace, outer_adjoint
from metaft.inner.state import State
from metaft.tensors import Tensors, pulled


class Reversible(Protocol):
    """One step that can be gone through backwards."""

    start: Any
    batch: Any

    def pull(self, adjoints: list[Any], totals: Gradients) -> Any:
        """The adjoint of the start from that of the end; the step's share of d/dh is added to the totals.

        Args:
            adjoints: that of the end alone, which is taken out, so that it is let go of as soon as it is used up.
        """
        ...

    def share(self, adjoints: list[Any], totals: Gradients) -> None:
        """The step's share of d/dh, from the adjoint of the end, is added to the totals; no more is computed."""
        ...


Tape = list[Callable[[], Reversible]]  # for each step what makes it reversible, the last one last
Record = Callable[[Any, int, int], tuple[Tape, Any]]  # (state, first, last) to those steps and their end


def swept(loop: Loop, span: int, shelf: Shelf, record: Record, trace: Trace) -> tuple[Tensor, Gradients]:
    """The outer loss and its derivative, by `span` steps at a time.

    Args:
        record: takes steps forwards; where there are several spans, those before the last are first gone through
            without it, and recorded from their first states when their turn comes.
    """
    device, steps = loop.state.tensors[0].device, len(loop.batches)
    spans = [(a, min(a + span, steps)) for a in range(0, steps, span)]
    bounds = []
    state = loop.state.map(Tensor.detach)
    for first, last in spans[:-1]:
        bounds.append(shelf.put(state))
        state = loop.plain(state, first, last)
    tape, state = record(state, *spans[-1])
    value, last_adjoint = outer_adjoint(loop.outer, state)
    adjoints = [last_adjoint]
    del state, last_adjoint  # which would be held to the end
    totals = {name: torch.zeros_like(x) for name, x in loop.h.items()}
    for first, last in reversed(spans):
        if not tape:
            tape = record(shelf.take(bounds.pop(), device), first, last)[0]
        for t in reversed(range(first, last)):
            link = tape.pop()()
            trace.note(t + 1, adjoints[0])
            trace.link(t + 1, link.start, link.batch, adjoints[0])
            if t > 0 or trace.whole:
                adjoints.append(link.pull(adjoints, totals))
            else:
                link.share(adjoints, totals)
            del link  # before the next graph is built
    if trace.whole:
        trace.note(0, adjoints[0])
    return value, totals


class _Seam(Function):
    """Nothing, [], through which adjoints go to values that are then no longer needed but as part of a graph.

    A derivative by `torch.autograd.grad` holds the values that it starts from; one that starts from a seam does not.
    """

    @staticmethod
    def forward(ctx: Any, adjoints: Sequence[Tensor], *values: Tensor) -> Tensor:
        ctx.adjoints = adjoints
        return values[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.adjoints


class _Once:
    """A graph that is gone through once, from `end`."""

    end: Any

    def _back(self, adjoint: Any, inputs: Sequence[Tensor]) -> Tensors:
        """The adjoints of inputs, from that of the end, which is let go of before."""
        seam: Tensor = _Seam.apply(adjoint.tensors, *self.end.tensors)
        del self.end
        return pulled([seam], [torch.ones_like(seam)], inputs)


class Link(_Once):
    """The graph of one step alone: its start is cut off from the graphs before it."""

    def __init__(self, step: StepFunction, state: Any, batch: Any, h: Mapping[str, Tensor]) -> None:
        self.start, self.batch = state.leaves(), batch
        self._h = {name: value.detach().requires_grad_() for name, value in h.items()}
        self.end = step(self.start, batch, self._h)

    def pull(self, adjoints: list[Any], totals: Gradients) -> Any:
        """The adjoint of the start from that of the end; the step's share of d/dh is added to the totals."""
        return self.start.replaced(self._pulled(adjoints.pop(), self.start.tensors, totals))

    def share(self, adjoints: list[Any], totals: Gradients) -> None:
        """The step's share of d/dh is added to the totals."""
        self._pulled(adjoints.pop(), (), totals)

    def _pulled(self, adjoint: Any, start: Sequence[Tensor], totals: Gradients) -> Sequence[Tensor]:
        """The adjoints of tensors of the start; the step's share of d/dh is added to the totals."""
        back = self._back(adjoint, [*start, *self._h.values()])
        for name, x in zip(self._h, back[len(start) :], strict=True):
            totals[name] = totals[name] + x
        return back[: len(start)]


class Turn(_Once):
    """The graph of what becomes of gradients, without the model: from state, gradients and h to the next state."""

    def __init__(
        self, step: HalvedStep, state: Any, grads: Sequence[Tensor | None], batch: Any, h: Mapping[str, Tensor]
    ) -> None:
        self.start = state.leaves()
        self._grads = [None if g is None else g.detach().requires_grad_() for g in grads]
        self._h = {name: x.detach().requires_grad_() for name, x in h.items()}
        with torch.enable_grad():
            self.end = step.moved(self.start, self._grads, batch, self._h)

    def pulled(self, adjoint: Any) -> tuple[list[Tensor], list[Tensor], Gradients]:
        """The adjoints of the state, of the gradients (0 where there is none) and of h."""
        inputs = [*self.start.tensors, *(g for g in self._grads if g is not None), *self._h.values()]
        back = iter(self._back(adjoint, inputs))
        states = list(islice(back, len(self.start.tensors)))
        pairs = zip(self.start.params, self._grads, strict=True)
        along = [torch.zeros_like(p) if g is None else next(back) for p, g in pairs]
        return states, along, dict(zip(self._h, back, strict=True))


class Shelf:
    """Storage for states: on their device, or in pinned host memory, so that copies overlap with computation."""

    def __init__(self, host: bool) -> None:
        self._host = host

    def put(self, state: State) -> State:
        """The state in the form in which it is kept, detached."""
        return state.map(self.away)

    def take(self, state: State, device: torch.device) -> State:
        """The state back on its device."""
        return state.map(lambda t: self.back(t, device))

    def away(self, tensor: Tensor) -> Tensor:
        """A tensor in the form in which it is kept, detached."""
        return _to_host(tensor.detach()) if self._host else tensor.detach()

    def back(self, tensor: Tensor, device: torch.device) -> Tensor:
        """A tensor back on its device."""
        return tensor.to(device, non_blocking=True) if self._host else tensor


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor
    kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return kept.copy_(tensor, non_blocking=True)
