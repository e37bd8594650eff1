"""The Tree-structured Parzen Estimator: what has been observed, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.objective.space import Categorical, Float, Space
from metaft.search.bilevel import BilevelProblem, Budget, SearchResult
from metaft.search.journal import Journal
from metaft.search.parzen import Columns, fit, log_density, sample, snap
from metaft.search.session import DEFAULT_FINAL, FinalChoice, Session

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """A proposal: its number and its point in natural units."""

    number: int
    params: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """Told in place of a value where a trial gave none; it counts as bad, never as unseen."""

    reason: str


class TPE:
    """Ask for a point, tell its value; smaller is better.

    The best ceil(n / 10) of n told trials, at most 25, make the density l; the others, and those still running, make
    g; of some draws from l the one with the largest l / g is proposed. Kernels in l weigh as much as their trial is
    better than the best of the others. The first `startup` proposals are uniform. A proposal is a function of
    (history, seed, its number) alone.

    Source: Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011; multivariate kernels: Falkner
    et al., BOHB, ICML 2018; weights and bandwidths: Watanabe, arXiv 2304.11127.
    """

    def __init__(self, space: Space, seed: int = 0, *, startup: int = 10, candidates: int = 24) -> None:
        self.space, self._seed, self._startup, self._candidates = space, seed, startup, candidates
        cells = [0 if isinstance(d, Float) else _choices(d) for d in space]
        categorical = [isinstance(d, Categorical) for d in space]
        self._columns = Columns(np.array(cells), np.array(categorical))
        self._points: list[Floats] = []
        self._values: list[float | None] = []  # None: running
        self._queue: list[dict[str, Any]] = []

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Propose this point before any of the model's own."""
        self._queue.append(dict(params))

    def ask(self) -> Trial:
        """The next proposal."""
        number = len(self._points)
        params = self._queue.pop(0) if self._queue else self._propose(number)
        self._points.append(self.space.to_unit(params).numpy())
        self._values.append(None)
        return Trial(number, params)

    def tell(self, number: int, value: float | Failed) -> None:
        """The value of a proposal; a failure or a number that is not finite counts as the worst.

        Raises:
            ValueError: no such proposal, or it was told already.
        """
        if not 0 <= number < len(self._values) or self._values[number] is not None:
            raise ValueError(f"tell: trial {number} is unknown or was told before")
        bad = isinstance(value, Failed) or not math.isfinite(value)
        self._values[number] = math.inf if bad else float(value)  # type: ignore[arg-type]

    def _propose(self, number: int) -> dict[str, Any]:
        return self.space.plain(torch.from_numpy(self._draw(number)))

    def _draw(self, number: int) -> Floats:
        rng = np.random.default_rng([self._seed, number])
        told = [i for i, v in enumerate(self._values) if v is not None]
        if len(told) < self._startup:
            start: Floats = snap(rng.random((1, len(self.space))), self._columns)[0]
            return start
        x = np.stack(self._points)
        y = np.array([math.inf if v is None else v for v in self._values])
        good, bad = split(y, len(told))
        better = fit(x[good], *improvement(y[good], y[bad]), self._columns)
        worse = fit(x[bad], np.ones(len(bad)), 1.0, self._columns)
        draws = sample(better, self._candidates, rng)
        best: Floats = draws[np.argmax(log_density(better, draws) - log_density(worse, draws))]
        return best


def _choices(dimension: Any) -> int:
    if isinstance(dimension, Categorical):
        return len(dimension.choices)
    return int(dimension.high - dimension.low + 1)


def split(y: Floats, told: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the good trials, the best min(ceil(told / 10), 25), and of the rest; ties go to the older."""
    order = np.argsort(y, kind="stable")
    n = min(math.ceil(0.1 * told), 25)
    return np.sort(order[:n]), np.sort(order[n:])


def improvement(good: Floats, bad: Floats) -> tuple[Floats, float]:
    """Weights max(1e-12, y* - y) of the good trials, y* the best of the bad, and the prior's: their mean.

    Where y* is not finite all weights are 1.
    """
    threshold = bad.min() if len(bad) else math.inf
    if not (math.isfinite(threshold) and np.isfinite(good).all()):
        return np.ones(len(good)), 1.0
    weights = np.maximum(1e-12, threshold - good)
    return weights, float(weights.mean())


@dataclass(frozen=True)
class TPESolver:
    """Search by TPE; the recipe is its first trial."""

    seed: int = 0
    final: FinalChoice = DEFAULT_FINAL
    startup: int = 10
    candidates: int = 24

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> SearchResult:
        """Ask, evaluate, tell, until the budget is used; then choose."""
        sampler = TPE(problem.space, self.seed, startup=self.startup, candidates=self.candidates)
        sampler.enqueue(problem.space.plain(problem.start))
        with Session(problem, budget, journal, self.seed, self.final) as session:
            for record in session.trials:
                sampler.tell(sampler.ask().number, record.outcome.value)
            while not session.exhausted():
                trial = sampler.ask()
                sampler.tell(trial.number, session.evaluate(trial.params).value)
            return session.conclude()
