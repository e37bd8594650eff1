"""Hypergradient estimators: pure functions of one signature, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from metaft.errors import ConfigError, Problem, unknown
from metaft.inner.forward import forward
from metaft.inner.implicit import implicit
from metaft.inner.loop import DEFAULT, Loop, Options
from metaft.inner.state import InnerState
from metaft.inner.storage import STORAGES
from metaft.inner.sweep import Gradients, Outer, StepFunction, Trace, Unrolled, plain, unrolled
from metaft.objective import base_name, is_knob


@dataclass(frozen=True)
class Estimator:
    """A registered estimator: its cost in step equivalents without the outer loss, its storages, what it refuses."""

    description: str
    function: Callable[[Loop], tuple[Tensor, Gradients]]
    cost: Callable[[Loop], float]
    storages: tuple[str, ...] = ("auto", "keep")
    refuses: Callable[[str], bool] = lambda name: False


def unroll(loop: Loop) -> tuple[Tensor, Gradients]:
    """The exact hypergradient, by a reverse sweep through the whole inner loop; see `metaft.inner.sweep`."""
    whole = Unrolled(loop.step, loop.batches, loop.h, loop.plan())
    return unrolled(whole, loop.state, loop.outer, loop.options.trace or Trace())


def truncated(loop: Loop) -> tuple[Tensor, Gradients]:
    """The hypergradient through the last k steps alone: what h did to the state before them is left out.

    Source: Shaban et al., Truncated back-propagation for bilevel optimization, AISTATS 2019, section 3.
    """
    tail, state = _tail(loop), loop.state
    for t in range(len(loop.batches) - len(tail.batches)):
        state = plain(loop.step, state, loop.batches[t], loop.h)
    return unroll(replace(tail, state=state))


def _tail(loop: Loop) -> Loop:
    """The last steps of a loop."""
    return replace(loop, batches=_After(loop.batches, max(0, len(loop.batches) - loop.options.last)))


def _last(loop: Loop) -> Loop:
    """The loop, of which `truncated` takes the last step alone."""
    return replace(loop, options=replace(loop.options, last=1))


def one_step(loop: Loop) -> tuple[Tensor, Gradients]:
    """The hypergradient through the last step alone.

    Source: Luketina et al., Scalable gradient-based tuning of continuous regularization hyperparameters, ICML 2016.
    """
    return truncated(_last(loop))


@dataclass(frozen=True)
class _After(Sequence[Any]):
    """A sequence without its first `skipped` items, none of them loaded."""

    whole: Sequence[Any]
    skipped: int

    def __len__(self) -> int:
        return len(self.whole) - self.skipped

    def __getitem__(self, number: Any) -> Any:
        return self.whole[range(self.skipped, len(self.whole))[number]]


def _sweep_cost(loop: Loop) -> float:
    return loop.plan().cost(len(loop.batches))


def _truncated_cost(loop: Loop) -> float:
    tail = _tail(loop)
    return len(loop.batches) - len(tail.batches) + _sweep_cost(tail)


ESTIMATORS: dict[str, Estimator] = {
    "unroll": Estimator("exact, by a reverse sweep through the whole inner loop", unroll, _sweep_cost, STORAGES),
    "truncated": Estimator("through the last steps alone (hypergrad.last)", truncated, _truncated_cost, STORAGES),
    "one_step": Estimator("through the last step alone", one_step, lambda loop: _truncated_cost(_last(loop)), STORAGES),
    "forward": Estimator(
        "exact, by forward mode; for few hyperparameters", forward, lambda loop: 2.0 * len(loop.h) * len(loop.batches)
    ),
    "implicit": Estimator(
        "by the implicit function theorem, for term weights",
        implicit,
        lambda loop: len(loop.batches) + 1 + 2.0 * (loop.options.iterations + 1),
        refuses=lambda name: is_knob(name) or base_name(name) in ("lr", "wd"),
    ),
}


def estimate(
    step: StepFunction,
    state: InnerState,
    batches: Iterable[Any],
    h: Mapping[str, Tensor],
    outer: Outer,
    storage: str = "keep",
    estimator: str = "unroll",
    options: Options = DEFAULT,
) -> tuple[Tensor, Gradients]:
    """The outer loss of the inner loop's end, and its derivative by each hyperparameter, in natural units.

    Args:
        step: (state, batch, h) -> state, differentiable; with a method `plain` of the same arguments, a step without
            a graph is taken by it.
        state: where the inner loop starts; not differentiated.
        batches: one a step.
        h: 0-d tensors by name.
        outer: the outer loss [] of a final state.

    Returns:
        The outer loss, detached, and its derivative by name.

    Raises:
        ConfigError: an unknown name, a storage the estimator does not offer, a hyperparameter it cannot serve, or no
            inner steps.
    """
    if not isinstance(batches, Sequence):
        batches = list(batches)
    found = refusals(estimator, storage, h)
    if not batches:
        found.append(Problem("inner.steps", "0 steps", "at least 1"))
    if found:
        raise ConfigError(found)
    return ESTIMATORS[estimator].function(Loop(step, state, batches, h, outer, storage, options))


def refusals(estimator: str, storage: str, names: Iterable[str]) -> list[Problem]:
    """Why an estimator cannot do what it is asked for."""
    if estimator not in ESTIMATORS:
        return [unknown("hypergrad.estimator", estimator, ESTIMATORS)]
    chosen, found = ESTIMATORS[estimator], []
    if storage not in chosen.storages:
        found.append(unknown("hypergrad.storage", storage, chosen.storages))
    refused = [name for name in names if chosen.refuses(name)]
    if refused:
        able = ", ".join(name for name, e in ESTIMATORS.items() if not any(map(e.refuses, refused)))
        what = f"{estimator!r} cannot differentiate by {', '.join(refused)}, which the inner loss does not hold"
        found.append(Problem("hypergrad.estimator", what, f"{able}; or fix them under objective.fixed"))
    return found
