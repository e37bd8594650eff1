"""Hypergradients by a reverse sweep: through all steps of the inner loop, or through the last ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from metaft.config.schema import HypergradConfig, StorageConfig
from metaft.errors import ConfigError, Fault
from metaft.inner.loop import Estimator, Gradients, Loop, Trace, plain
from metaft.inner.state import State
from metaft.inner.storage import Plan, planned
from metaft.inner.sweep import Link, Shelf, Tape, swept


@dataclass(frozen=True)
class Unroll(Estimator):
    """The exact hypergradient, by a reverse sweep through every step of the inner loop.

        adj_T = d outer / d state_T;  adj_{t-1} = adj_t d state_t / d state_{t-1};  d/dh = sum_t adj_t d state_t / d h

    Each step's graph stands alone, so it can be kept or built again from its state. Where it is built again, the
    states are those of the plain run, which may use attention that has no second derivative.

    Args:
        storage: what is kept between the sweeps; the derivative is the same with all of them.

    Source: Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, ICML 2017, section 3.1.

    >>> import torch
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

    Raises:
        ConfigError: k is no whole number from 1.

    Source: Shaban et al., Truncated back-propagation for bilevel optimization, AISTATS 2019, section 3.

    >>> import torch
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

    def __post_init__(self) -> None:
        if isinstance(self.last, bool) or not isinstance(self.last, int) or self.last < 1:
            raise ConfigError([Fault("last", repr(self.last), "a whole number from 1")])

    @classmethod
    def of(cls, settings: HypergradConfig) -> Truncated:
        """With the last steps and the storage of the settings."""
        return cls(settings.last, settings)

    @classmethod
    def one_step(cls, settings: HypergradConfig) -> Truncated:
        """Through the last step (Luketina et al., Scalable gradient-based tuning, ICML 2016)."""
        return cls(1, settings)

    def swept(self, loop: Loop) -> Loop:
        """The last k steps."""
        return loop.last(self.last)

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and the truncated derivative."""
        tail = self.swept(loop)
        state = loop.plain(loop.state, 0, len(loop.batches) - len(tail.batches))
        return Unroll(self.storage)(replace(tail, state=state), trace)

    def cost(self, loop: Loop) -> float:
        """One step equivalent for each step before the last k, and the cost of `Unroll` for the others."""
        tail = self.swept(loop)
        return len(loop.batches) - len(tail.batches) + Unroll(self.storage).cost(tail)


def unrolled(loop: Loop, plan: Plan, trace: Trace) -> tuple[Tensor, Gradients]:
    """The outer loss and its exact derivative through all steps, with what a plan keeps of them."""
    shelf, device = Shelf(plan.host), loop.state.tensors[0].device

    def link(state: State, t: int) -> Link:
        return Link(loop.step, state, loop.batches[t], loop.h)

    def again(start: State, t: int) -> Link:
        return link(shelf.take(start, device), t)

    def record(state: State, first: int, last: int) -> tuple[Tape, State]:
        tape: Tape = []
        for t in range(first, last):
            if t >= len(loop.batches) - plan.graphs:
                kept = link(state, t)
                tape.append(partial(_itself, kept))
                state = kept.end.map(Tensor.detach)
            else:
                tape.append(partial(again, shelf.put(state), t))
                state = plain(loop.step, state, loop.batches[t], loop.h)
        return tape, state

    return swept(loop, plan.span, shelf, record, trace)


def _itself(link: Link) -> Link:
    return link
