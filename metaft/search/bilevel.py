"""The bi-level problem that every solver sees, and the interface of solvers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from metaft.errors import ConfigError, Fault
from metaft.search.journal import Journal
from metaft.search.outcome import Outcome
from metaft.space import Space

__all__ = [
    "BilevelProblem",
    "Budget",
    "Choice",
    "Forecast",
    "Forecasting",
    "Maturing",
    "Outcome",
    "ProblemFactory",
    "Report",
    "Sloped",
    "Solver",
    "Suggesting",
    "first_points",
    "folds_of",
    "seed_for",
]

Report = Callable[[int, float], bool]
ProblemFactory = Callable[[str], "BilevelProblem"]  # from a device's name; picklable, for other processes


@dataclass(frozen=True)
class Budget:
    """How much a search may use, its last choice included; the first limit that is reached ends it.

    `trials` does not count the evaluations of the last choice.

    Raises:
        ConfigError: a limit is no number above 0.
    """

    trials: int | None = None
    seconds: float | None = None
    step_equivalents: float | None = None

    def __post_init__(self) -> None:
        odd = [(k, v) for k, v in vars(self).items() if not (v is None or (isinstance(v, int | float) and v > 0))]
        if odd:
            raise ConfigError([Fault(f"search.{name}", repr(limit), "above 0, or None") for name, limit in odd])

    def spent(self, trials: float, seconds: float, step_equivalents: float) -> float:
        """The share of the budget that is used: 1 or more when it is exhausted, 0 without any limit."""
        pairs = ((trials, self.trials), (seconds, self.seconds), (step_equivalents, self.step_equivalents))
        return max((used / limit for used, limit in pairs if limit is not None), default=0.0)


@dataclass(frozen=True)
class Choice:
    """The point a search settles on, in natural units by name, and what the search cost.

    `finalists` are the points that were evaluated again, each with its number, its values and their mean.
    """

    params: dict[str, Any]
    value: float
    trials: int
    step_equivalents: float
    seconds: float
    finalists: list[dict[str, Any]] = field(default_factory=list)


@runtime_checkable
class BilevelProblem(Protocol):
    """A space, a known recipe, and two ways to look at a point; the same seed means the same randomness in both."""

    @property
    def space(self) -> Space:
        """The hyperparameters."""
        ...

    @property
    def start(self) -> Tensor:
        """The recipe in the unit cube, [K] in [0.05, 0.95]."""
        ...

    def evaluate(self, params: Mapping[str, Any], seed: int, report: Report | None = None) -> Outcome:
        """The outcome at a point in natural units; `report(step, outer loss)` asks to stop by returning True."""
        ...

    def hypergradient(self, u: Tensor, seed: int) -> tuple[Outcome, Tensor]:
        """The outcome at u and d value / d u, [K]; 0 for whole numbers and categories."""
        ...


@runtime_checkable
class Sloped(Protocol):
    """A problem that can also give the slope along one direction, computed in another way than its derivative."""

    def slope(self, u: Tensor, direction: Tensor, seed: int) -> tuple[Outcome, float]:
        """The outcome at u and d value / d u . direction."""
        ...


@runtime_checkable
class Maturing(Protocol):
    """A problem that can say what the final fine-tune, or a shorter one, makes of a point."""

    @property
    def folds(self) -> int:
        """The number of parts of the outer set that judge in turn; seeds that follow one another take each once."""
        ...

    def price(self, share: float) -> float:
        """The step equivalents of `become`."""
        ...

    def become(self, params: Mapping[str, Any], seed: int, share: float) -> Outcome:
        """The outcome after `share` of the final fine-tune's steps, with its batches and its course of the rate."""
        ...


@runtime_checkable
class Suggesting(Protocol):
    """A problem that knows other points worth trying first, beside the recipe: one for each choice of a category."""

    def suggestions(self) -> list[dict[str, Any]]:
        """The points in natural units by name."""
        ...


def first_points(problem: BilevelProblem) -> list[dict[str, Any]]:
    """What every search tries first, in natural units: the recipe, and what the problem suggests."""
    recipe = problem.space.plain(problem.start)
    suggested = problem.suggestions() if isinstance(problem, Suggesting) else []
    return [recipe, *(point for point in suggested if point != recipe)]


def folds_of(problem: BilevelProblem) -> int:
    """The number of parts of the outer set that judge in turn."""
    return problem.folds if isinstance(problem, Maturing) else 1


@dataclass(frozen=True)
class Forecast:
    """What a hypergradient will take.

    Args:
        bytes: the peak beside the model.
        graphs: how many are kept.
        estimator: what computes it.
    """

    step_equivalents: float
    bytes: float = 0.0
    graphs: int = 0
    estimator: str = ""


@runtime_checkable
class Forecasting(Protocol):
    """A problem that can say beforehand what a hypergradient will take."""

    def forecast(self) -> Forecast:
        """The forecast of one hypergradient with the problem's settings."""
        ...


class Solver(Protocol):
    """Anything that searches a problem within a budget, writing each trial to the journal as it ends."""

    def faults(self, problem: BilevelProblem, budget: Budget) -> list[Fault]:
        """Why nothing can be done within a budget, each limit with the least that would do; none where it can."""
        ...

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> Choice:
        """Search within the budget; the recipe is the first trial."""
        ...


def seed_for(seed: int, purpose: str, number: int) -> int:
    """A seed for one of many uses, unrelated to every other (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, number, *purpose.encode()]).generate_state(1, np.uint32)[0])
