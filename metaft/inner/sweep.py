"""The graph of one step, and storage for states between the forward and the reverse sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metaft.inner.loop import Gradients, StepFunction
from metaft.inner.state import State


class Link:
    """The graph of one step alone: its start is cut off from the graphs before it."""

    def __init__(self, step: StepFunction, state: Any, batch: Any, h: Mapping[str, Tensor]) -> None:
        self.start, self.batch = state.leaves(), batch
        self._h = {name: value.detach().requires_grad_() for name, value in h.items()}
        self.end = step(self.start, batch, self._h)

    def pull(self, adjoint: Any, totals: Gradients) -> Any:
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


class Shelf:
    """Storage for states: on their device, or in pinned host memory, so that copies overlap with computation."""

    def __init__(self, host: bool) -> None:
        self._host = host

    def put(self, state: State) -> State:
        """The state in the form in which it is kept, detached."""
        state = state.map(Tensor.detach)
        return state.map(_to_host) if self._host else state

    def take(self, state: State, device: torch.device) -> State:
        """The state back on its device."""
        return state.map(lambda t: t.to(device, non_blocking=True)) if self._host else state


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor
    kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return kept.copy_(tensor, non_blocking=True)
