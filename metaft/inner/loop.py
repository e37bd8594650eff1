"""The arguments every estimator takes, and what a loop's graphs weigh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from metaft.inner.state import InnerState
from metaft.inner.storage import Footprint, Plan, free_memory, graph_bytes, plan_for
from metaft.inner.sweep import Link, Outer, StepFunction, Trace


@dataclass(frozen=True)
class Options:
    """What only some estimators or storages read.

    Args:
        memory: the budget of `auto` in bytes; None: a share of what is free.
        offload: states wait in host memory (on a GPU).
        footprint: what `measure` gave for a loop of these shapes, so that `auto` need not measure again.
        last: how many steps `truncated` differentiates.
        solver, iterations, damping, scale: of `implicit` (see `metaft.inner.solvers`).
        trace: filled by a reverse sweep.
    """

    memory: float | None = None
    offload: bool = False
    footprint: Footprint | None = None
    last: int = 5
    solver: str = "cg"
    iterations: int = 10
    damping: float = 0.0
    scale: float = 1.0
    trace: Trace | None = None


DEFAULT = Options()


@dataclass(frozen=True)
class Loop:
    """The arguments every estimator takes."""

    step: StepFunction
    state: InnerState
    batches: Sequence[Any]
    h: Mapping[str, Tensor]
    outer: Outer
    storage: str = "keep"
    options: Options = field(default_factory=Options)

    def footprint(self) -> Footprint:
        """The bytes of its parts, as known or measured now."""
        return self.options.footprint or measure(self.step, self.state, self.batches[0], self.h, self.outer)

    def plan(self) -> Plan:
        """What the storage keeps of this loop."""
        options, budget = self.options, self.options.memory
        if budget is None and self.storage == "auto":
            budget = free_memory(self.state.params[0].device)
        return plan_for(
            self.storage,
            len(self.batches),
            self.footprint,
            budget,
            options.offload,
        )


def measure(step: StepFunction, state: InnerState, batch: Any, h: Mapping[str, Tensor], outer: Outer) -> Footprint:
    """The bytes of a state, of one step's graph and of the outer loss's."""
    state = state.map(Tensor.detach)

    def inner_graph() -> tuple[object, object]:
        link = Link(step, state, batch, h)
        return link, link.end.map(Tensor.detach)

    return Footprint(
        sum(t.numel() * t.element_size() for t in state.tensors),
        graph_bytes(inner_graph),
        graph_bytes(lambda: (outer(state.leaves()), None)),
    )
