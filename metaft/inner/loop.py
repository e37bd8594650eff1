"""The inner loop that estimators differentiate, and their interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from metaft.errors import ConfigError, Fault
from metaft.inner.state import State
from metaft.shards import Whole
from metaft.tensors import with_zeros

Gradients = dict[str, Tensor]
Outer = Callable[[Any], Tensor]


class StepFunction(Protocol):
    """One differentiable step with explicit state."""

    def __call__(self, state: Any, batch: Any, h: Mapping[str, Any], /) -> Any:
        """The next state."""
        ...


@runtime_checkable
class PlainStep(Protocol):
    """A step that can also be taken without a graph, at the price of plain training."""

    def plain(self, state: Any, batch: Any, h: Mapping[str, Any], /) -> Any:
        """The next state, detached."""
        ...


@runtime_checkable
class DualStep(Protocol):
    """A step that takes dual numbers at a lower price, without a graph for reverse mode."""

    def dual(self, state: Any, batch: Any, h: Mapping[str, Any], /) -> Any:
        """The next state, of dual numbers."""
        ...


@runtime_checkable
class HasLoss(Protocol):
    """A step that shows the loss it descends."""

    def loss(self, params: Any, batch: Any, h: Mapping[str, Any], /) -> Tensor:
        """The inner loss []."""
        ...


@runtime_checkable
class HasLossOfState(Protocol):
    """A step that shows the loss it descends, of a whole state."""

    def loss_at(self, state: Any, batch: Any, h: Mapping[str, Any], /) -> Tensor:
        """The inner loss []."""
        ...


@runtime_checkable
class Held(Protocol):
    """A step that says how tensors of its states are held; those of others are whole."""

    @property
    def layout(self) -> Whole:
        """How."""
        ...


class Part(NamedTuple):
    """A part of a batch, whose loss is a function of a model's outputs.

    Args:
        share: of the part's loss in that of the batch.
        outputs: what the model with these parameters makes of the part, differentiable once.
        loss: the loss [], penalties left out, as a function of these outputs and of h, differentiable twice.
    """

    share: float
    outputs: Callable[[Sequence[Tensor]], list[Tensor]]
    loss: Callable[[Sequence[Tensor], Mapping[str, Any]], Tensor]


@runtime_checkable
class HalvedStep(StepFunction, Protocol):
    """A step in two halves: the losses on a batch, and what becomes of their gradients without the model."""

    @property
    def precision(self) -> float:
        """The relative precision of the model's outputs."""
        ...

    @property
    def precise(self) -> HalvedStep:
        """The step whose outputs have the precision of the parameters: this one, where they have it."""
        ...

    def parts(self, batch: Any, /) -> Sequence[Part]:
        """The parts of a batch; the loss on it is their mean by shares."""
        ...

    def moved(self, state: Any, grads: Sequence[Tensor | None], batch: Any, h: Mapping[str, Any], /) -> Any:
        """The next state from the gradients of that loss, differentiable in the state, the gradients and h."""
        ...


@dataclass(frozen=True)
class Footprint:
    """Bytes: of a state, of one step's graph beside its states, of the outer loss's graph.

    `seen` is what waits with each step for the reverse sweep, beside every second state then; `part` the graph of a
    part of a batch that is run again as a step's is gone through, and `params` the parameters alone; 0: nothing,
    batches are whole, or nothing but a state's own size comes and goes.
    """

    state: int
    graph: int
    outer: int
    part: int = 0
    seen: int = 0
    params: int = 0


@dataclass(frozen=True)
class Loop:
    """T steps, and the outer loss of the state after them.

    Args:
        step: (state, batch, h) to the next state.
        state: where the loop starts; not differentiated.
        batches: one per step.
        h: the hyperparameters to differentiate with respect to, by name.
        outer: the outer loss [] of a final state.
        footprint: the bytes of a loop of these shapes, where they have been measured before.
        outer_part: the part of the outer loss of a state whose graph is built again later; None: none.
    """

    step: StepFunction
    state: State
    batches: Sequence[Any]
    h: Mapping[str, Tensor]
    outer: Outer
    footprint: Footprint | None = None
    outer_part: Callable[[Any], Tensor | None] = lambda state: None

    @property
    def layout(self) -> Whole:
        """How tensors of its states are held."""
        return self.step.layout if isinstance(self.step, Held) else Whole()

    def plain(self, state: State, first: int, last: int) -> State:
        """Steps first + 1 to last from a state, without a graph that outlives them."""
        for t in range(first, last):
            state = plain(self.step, state, self.batches[t], self.h)
        return state

    def last(self, count: int) -> Loop:
        """The loop with its last batches alone, from the same state."""
        return replace(self, batches=_After(self.batches, max(0, len(self.batches) - count)))


@dataclass(frozen=True)
class _After(Sequence[Any]):
    """A sequence without its first `skipped` items, none of them loaded."""

    items: Sequence[Any]
    skipped: int

    def __len__(self) -> int:
        return len(self.items) - self.skipped

    def __getitem__(self, number: Any) -> Any:
        return self.items[range(self.skipped, len(self.items))[number]]


@dataclass
class Trace:
    """A record of a reverse sweep.

    Args:
        lengths: by t, the length of the adjoint d value / d params_t, or of the part of it that is held, from t = T
            down to 0, or to 1.
        link: is called with step t, the state it starts from, its batch and the adjoint of the state it ends in.
        whole: whether the sweep is to go on to the adjoint of the start, which no hyperparameter needs.
    """

    lengths: dict[int, Tensor] = field(default_factory=dict)
    link: Callable[[int, Any, Any, Any], None] = lambda *_: None
    whole: bool = False

    def note(self, t: int, adjoint: State) -> None:
        """Record the length of the adjoint of the state after t steps."""
        self.lengths[t] = torch.stack(torch._foreach_norm(list(adjoint.params))).norm()


class Estimator(ABC):
    """A way to compute the hypergradient, with its options as fields.

    `products` says how many second-order products follow one call of the step's `loss`; `graphs` whether graphs of
    steps are differentiated.
    """

    products: int = 0
    graphs: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss, detached, and its derivative by hyperparameter; a reverse sweep fills the trace."""

    def __str__(self) -> str:
        """What it is called in what a run prints."""
        return type(self).__name__.lower()

    def picked(self, loop: Loop) -> Estimator:
        """The estimator that does the work for loops like this one; it costs no step."""
        return self

    def described(self, loop: Loop) -> str:
        """What does the work for loops like this one, in words."""
        return str(self.picked(loop))

    def swept(self, loop: Loop) -> Loop | None:
        """The part of a loop whose steps' graphs, or gradients, are gone through backwards; None: none."""
        return loop

    def settled(self, loop: Loop) -> Estimator:
        """The same, with what it has to measure once for loops like this one."""
        return self.picked(loop)

    @abstractmethod
    def cost(self, loop: Loop) -> float:
        """The step equivalents of a hypergradient, without those of the outer loss."""


def plain(step: StepFunction, state: Any, batch: Any, h: Mapping[str, Tensor]) -> Any:
    """One step without a graph that outlives it."""
    if isinstance(step, PlainStep):
        return step.plain(state, batch, h)
    return step(state.leaves(), batch, h).map(Tensor.detach)


def outer_adjoint(outer: Outer, state: State) -> tuple[Tensor, State]:
    """The outer loss, detached, and its derivative with respect to the state.

    Raises:
        ConfigError: it is not one number, or does not depend on the state.
    """
    leaves = state.leaves()
    value = outer(leaves)
    if not isinstance(value, Tensor) or value.ndim:
        found = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ConfigError([Fault("outer", found, "a loss, a tensor of shape []")])
    pulled = torch.autograd.grad(value, leaves.tensors, allow_unused=True) if value.requires_grad else ()
    if all(x is None for x in pulled):
        raise ConfigError([Fault("outer", "a loss that does not depend on the state", "one that does, differentiably")])
    return value.detach(), state.replaced(with_zeros(pulled, leaves.tensors))
