"""The Tree-structured Parzen Estimator: what has been observed, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.search.mixture import Columns, Floats, Mixture, cell_of, log_densities, sample
from metaft.search.parzen import fit, single_floor
from metaft.search.sampler import Failed, Stopped, Told, Trial
from metaft.space import MAX_CELLS, Categorical, Dimension, Float, Int, Space

__all__ = ["TPE", "Failed", "Stopped", "Told", "Trial"]

OK, STOPPED, BAD, RUNNING = range(4)  # how an observation ranks before its value is looked at
CROWDING = 1.2  # exponent of g
GOOD, MAX_GOOD = 0.15, 25  # share and number of observations that make l
JOINT_CANDIDATES, SINGLE_CANDIDATES = 32, 8
FRESH_TRIES = 200  # uniform draws in search of a point that was never tried


class TPE:
    """Ask for a point, tell its value; smaller is better.

    The best ceil(0.15 n) of n told observations, at most 25, make the density l; the others, and trials still running,
    make g. Candidates are drawn from l, each dimension from a kernel of its own choice; of those never tried, the one
    with the largest l / g^1.2 is proposed, where log l and log g are sums of that of the joint density and of those of
    the dimensions apart. The joint model knows what goes together, the marginals average over more observations, and
    the exponent drives the search out of a region that is crowded without getting better. The first `startup`
    proposals are uniform. A proposal is a function of (history, seed, its number) alone: the order in which trials end
    changes nothing.

    Args:
        space: what is searched; dimensions with conditions are allowed.
        seed: of all draws.
        startup: observations from which on the model proposes.
        candidates: draws from l for each proposal; None: 32, or 8 where each dimension is chosen by itself.
        multivariate: as said; otherwise each dimension is chosen by its own densities, without regard to the others.
        weights: kernels in l weigh as much as their observation is better than the best of the others
            (`improvement`), or all the same (`uniform`; then only the order of values matters).

    Source: Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011; multivariate kernels: Falkner
    et al., BOHB, ICML 2018; weights and bandwidths: Watanabe, arXiv 2304.11127.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        startup: int = 10,
        candidates: int | None = None,
        multivariate: bool = True,
        weights: Literal["improvement", "uniform"] = "improvement",
    ) -> None:
        self.space, self._seed = space, seed
        self._startup, self._multivariate, self._weights = startup, multivariate, weights
        self._candidates = candidates or (JOINT_CANDIDATES if multivariate else SINGLE_CANDIDATES)
        self._columns = columns_of(space)
        self._conditions = _conditions(space)
        self._x = np.empty((0, len(space)))
        self._kind, self._y = np.empty(0, dtype=np.int64), np.empty(0)  # of each row of x
        self._rows: list[int] = []  # by number of a trial
        self._seen: set[bytes] = set()
        self._queue: list[dict[str, Any]] = []

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Propose this point before any of the model's own.

        Raises:
            ValueError: it is no point of the space.
        """
        self.space.to_unit(params)
        self._queue.append(dict(params))

    def observe(self, params: Mapping[str, Any], value: Told) -> None:
        """Take in a value from elsewhere, which is no trial of this search.

        Raises:
            ValueError: it is no point of the space.
        """
        self._add(params, value)

    def ask(self) -> Trial:
        """The next proposal."""
        number = len(self._rows)
        params = self._queue.pop(0) if self._queue else self._propose(number)
        self._rows.append(self._add(params, None))
        return Trial(number, params)

    def tell(self, number: int, value: Told) -> None:
        """The value of a proposal; a failure or a number that is not finite counts as the worst.

        Raises:
            ValueError: no such proposal, or it was told already.
        """
        if not 0 <= number < len(self._rows):
            raise ValueError(f"tell: no trial {number} was asked for; allowed: 0 to {len(self._rows) - 1}")
        row = self._rows[number]
        if self._kind[row] != RUNNING:
            raise ValueError(f"tell: trial {number} was told before; allowed: each trial once")
        self._kind[row], self._y[row] = _kind_and_value(value)

    def _add(self, params: Mapping[str, Any], value: Told | None) -> int:
        u = self.space.to_unit(params).numpy()
        self._x = np.vstack([self._x, u])
        self._seen.add(u.tobytes())
        kind, y = (RUNNING, math.inf) if value is None else _kind_and_value(value)
        self._kind, self._y = np.append(self._kind, kind), np.append(self._y, y)
        return len(self._y) - 1

    def _propose(self, number: int) -> dict[str, Any]:
        """The first candidate that was never tried; where all were, the first."""
        rng = np.random.default_rng([self._seed, number])
        tried = None
        for u in self._candidates_from(rng):
            params = self.space.plain(torch.from_numpy(u))
            if self.space.to_unit(params).numpy().tobytes() not in self._seen:
                return params
            tried = tried or params
        assert tried is not None
        return tried

    def _candidates_from(self, rng: np.random.Generator) -> Iterator[Floats]:
        """The model's candidates, best first, once there is enough to learn from; then uniform points."""
        if (self._kind != RUNNING).sum() >= self._startup:
            yield from self._ranked(rng)
        yield from rng.random((FRESH_TRIES, len(self.space)))

    def _ranked(self, rng: np.random.Generator) -> Floats:
        """Draws from l [candidates, d], those with the largest l / g first."""
        good, bad = split(self._kind, self._y)
        values = np.where(self._kind == OK, self._y, math.inf)
        weights = improvement(values[good], values[bad]) if self._weights == "improvement" else np.ones(len(good))
        x, worst = self._x, np.ones(len(bad))
        if self._multivariate:
            better, worse = fit(x[good], weights, self._columns), fit(x[bad], worst, self._columns)
            return _sorted(self._blank(sample(better, self._candidates, rng)), better, worse)
        apart = []
        for j, column in enumerate(self._columns.apart()):
            better, worse = (
                fit(*_there(x[rows, j : j + 1], w), column, single_floor) for rows, w in ((good, weights), (bad, worst))
            )
            apart.append(_sorted(sample(better, self._candidates, rng), better, worse))
        return self._blank(np.hstack(apart))

    def _blank(self, x: Floats) -> Floats:
        """Candidates [m, d] without the numbers of dimensions whose condition does not hold."""
        for j, parent, values in self._conditions:
            edges = self._columns.edges[parent]
            assert edges is not None  # a parent has cells
            there = np.isin(cell_of(x[:, parent], edges), cell_of(values, edges))
            x[~there, j] = np.nan
        return x


def _sorted(draws: Floats, better: Mixture, worse: Mixture) -> Floats:
    """Draws [m, d], those with the largest l / g^1.2 first."""
    score = sum(log_densities(better, draws)) - CROWDING * sum(log_densities(worse, draws))
    return draws[np.argsort(-score, kind="stable")]


def _there(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The rows of one column [n, 1] that are numbers, and their weights."""
    numbers = ~np.isnan(x[:, 0])
    return x[numbers], weights[numbers]


def columns_of(space: Space) -> Columns:
    """How the model sees each dimension."""
    return Columns(tuple(_edges(d) for d in space), tuple(isinstance(d, Categorical) for d in space))


def _edges(d: Dimension) -> Floats | None:
    if isinstance(d, Float) or (isinstance(d, Int) and d.high - d.low >= MAX_CELLS):
        return None
    return np.array(d.edges())


def _conditions(space: Space) -> list[tuple[int, int, Floats]]:
    """For every dimension with a condition: its column, its parent's, and where the parent must be for it."""
    found = []
    for j, d in enumerate(space):
        if d.when is not None:
            parent = space.names.index(d.when[0])
            found.append((j, parent, np.array([space.dimensions[parent].to_unit(v) for v in d.when[1]])))
    return found


def _kind_and_value(told: Told) -> tuple[int, float]:
    """Of what kind an observation is, and its value (infinite for what gave none)."""
    value = math.inf if isinstance(told, Failed) else told.value if isinstance(told, Stopped) else told
    if not math.isfinite(value):
        return BAD, math.inf
    return STOPPED if isinstance(told, Stopped) else OK, float(value)


def split(kind: NDArray[np.int64], y: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the good observations, the best min(ceil(0.15 told), 25), and of the rest; ties go to the older."""
    order = np.lexsort((y, kind))
    n = min(math.ceil(GOOD * int((kind != RUNNING).sum())), MAX_GOOD)
    return np.sort(order[:n]), np.sort(order[n:])


def improvement(good: Floats, bad: Floats) -> Floats:
    """Weights (y* - y) / max (y* - y) of the good observations, y* the best of the others, at least 1e-12.

    All are 1 where y* is not finite or none is better.
    """
    threshold = bad.min() if len(bad) else math.inf
    if not (math.isfinite(threshold) and np.isfinite(good).all()):
        return np.ones(len(good))
    gain = threshold / 2 - good / 2  # halves, for the sake of numbers near the largest there are
    return np.maximum(1e-12, gain / gain.max()) if gain.max() > 0 else np.ones(len(good))
