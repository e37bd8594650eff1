"""The Tree-structured Parzen Estimator: from the points observed to the one to try next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metaft.config.read import from_mapping
from metaft.config.schema import TPEConfig
from metaft.search.sampler import BAD, OK, RUNNING, STOPPED, AskTell, Failed, History, Stopped, Told, Trial
from metaft.search.tpe.mixture import Columns, Floats, LogInside, Mixture, cell_of, log_densities, sample
from metaft.search.tpe.parzen import SortedRows, among, fit, single_floor
from metaft.space import MAX_CELLS, Categorical, Dimension, Float, Int, Space

__all__ = ["BAD", "OK", "RUNNING", "STOPPED", "TPE", "Failed", "Stopped", "Told", "Trial"]

CROWDING = 1.2  # exponent of g
GOOD, MAX_GOOD = 0.15, 25  # share and number of observations that make l
JOINT_CANDIDATES, SINGLE_CANDIDATES = 32, 8
ROUGH = 0.01  # more than the error of rough scores
FRESH_TRIES = 200  # uniform draws in search of a point that was never tried


class TPE(AskTell):
    """Proposes points like the good ones among those observed, and unlike the others; smaller is better.

    The best ceil(0.15 n) of n told observations, at most 25, make the density l; the others, and trials still running,
    make g. Candidates are drawn from l, each dimension from a kernel drawn for it alone; of those never tried, the one
    with the largest l / g^1.2 is proposed, where log l and log g each add the logs of the joint density and of the
    marginal ones. The joint model knows what goes together, the marginals average over more observations, and
    the exponent drives the search out of a region that is crowded without getting better. The first `startup`
    proposals are uniform. A proposal is a function of (history, seed, its number) alone: the order in which trials end
    changes nothing. What was sorted and fitted for one proposal is reused for a history that continues from there.

    Args:
        space: what is searched; dimensions with conditions are allowed.
        seed: of all draws.
        startup: observations before the model proposes, 10.
        candidates: draws from l for each proposal; None: 32, or 8 where each dimension is chosen by itself.
        multivariate: True: as above; False: each dimension is chosen by its own densities, without regard to the
            others.
        weights: kernels in l are weighted by how much their observation is better than the best of the others
            (`improvement`), or equally (`uniform`; then only the order of values matters).

    Raises:
        ConfigError: every option that there is none of, or of another kind.
        ValueError: the space is none, or the seed is no whole number from 0.

    Source: Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011; multivariate kernels: Falkner
    et al., BOHB, ICML 2018; weights and bandwidths: Watanabe, arXiv 2304.11127.

    >>> sampler = TPE(Space([Float("x", -1.0, 1.0)]), seed=0)
    >>> for _ in range(40):
    ...     trial = sampler.ask()
    ...     sampler.tell(trial.number, trial.params["x"] ** 2)
    >>> abs(sampler.ask().params["x"]) < 0.1
    True
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(space, seed)
        self._options = from_mapping({"tpe": options}).tpe if options else TPEConfig()
        standard = JOINT_CANDIDATES if self._options.multivariate else SINGLE_CANDIDATES
        self._candidates = self._options.candidates or standard
        self._columns = columns_of(space)
        self._conditions = _conditions(space)
        self._sorted_rows = SortedRows()
        self._inside = [LogInside() for _ in range(1 if self._options.multivariate else len(space))]  # of g

    def propose(self, history: History, number: int) -> dict[str, Any]:
        """The first candidate that was never tried; where all were, the first."""
        rng, tried = np.random.default_rng([self._seed, number]), None
        for u in self._candidates_from(history, rng):
            params = self.space.plain(torch.from_numpy(u))
            if not history.holds(params):
                return params
            tried = tried or params
        assert tried is not None
        return tried

    def _candidates_from(self, history: History, rng: np.random.Generator) -> Iterator[Floats]:
        """The model's candidates, best first, once there is enough to learn from; then uniform points."""
        if (history.kind != RUNNING).sum() >= self._options.startup:
            yield from self._ranked(history, rng)
        yield from rng.random((FRESH_TRIES, len(self.space)))

    def _ranked(self, history: History, rng: np.random.Generator) -> Iterator[Floats]:
        """Draws from l [candidates, d], those with the largest l / g first."""
        good, bad = split(history.kind, history.y)
        values = np.where(history.kind == OK, history.y, math.inf)
        weights = (
            improvement(values[good], values[bad]) if self._options.weights == "improvement" else np.ones(len(good))
        )
        sides = ((good, weights), (bad, np.ones(len(bad))))
        x, order = history.x, self._sorted_rows(history.x)
        if self._options.multivariate:
            better, worse = (fit(x[rows], w, self._columns, order=among(order, rows)) for rows, w in sides)
            yield from _best_first(self._blank(sample(better, self._candidates, rng)), better, worse, self._inside[0])
            return
        by_column = []
        for j, column in enumerate(self._columns.apart()):
            better, worse = (_alone(x[:, j : j + 1], order[j : j + 1], rows, w, column) for rows, w in sides)
            draws = sample(better, self._candidates, rng)
            by_column.append(_sorted(draws, _log(better, draws), worse, self._inside[j](worse.mu, worse.sigma)))
        yield from self._blank(np.hstack(by_column))

    def _blank(self, x: Floats) -> Floats:
        """Candidates [m, d] without the numbers of dimensions whose condition does not hold."""
        for j, parent, values in self._conditions:
            edges = self._columns.edges[parent]
            assert edges is not None  # a parent has cells
            present = np.isin(cell_of(x[:, parent], edges), cell_of(values, edges))
            x[~present, j] = np.nan
        return x


def _best_first(draws: Floats, better: Mixture, worse: Mixture, kept: LogInside) -> Iterator[Floats]:
    """Draws [m, d], those with the largest l / g^1.2 first.

    Mostly only the first is asked for, and it is among the few that are best by rough densities.
    """
    log_l, inside = _log(better, draws), kept(worse.mu, worse.sigma)
    rough = log_l - CROWDING * _log(worse, draws, inside, rough=True)
    near = rough > rough.max() - ROUGH
    yield from _sorted(draws[near], log_l[near], worse, inside)[:1]
    yield from _sorted(draws, log_l, worse, inside)


def _sorted(draws: Floats, log_l: Floats, worse: Mixture, inside: Floats) -> Floats:
    """Draws [m, d] with log l [m], those with the largest l / g^1.2 first."""
    score = log_l - CROWDING * _log(worse, draws, inside)
    return draws[np.argsort(-score, kind="stable")]


def _log(mixture: Mixture, draws: Floats, inside: Floats | None = None, *, rough: bool = False) -> Floats:
    """The log density [m] of draws [m, d] plus that of the marginals' product."""
    joint, marginals = log_densities(mixture, draws, inside, rough=rough)
    return joint + marginals


def _alone(x: Floats, order: NDArray[np.int64], rows: NDArray[np.int64], weights: Floats, column: Columns) -> Mixture:
    """The mixture over one column x [n, 1], of those of some rows that hold a number."""
    numbers = ~np.isnan(x[rows, 0])
    rows = rows[numbers]
    return fit(x[rows], weights[numbers], column, single_floor, among(order, rows))


def columns_of(space: Space) -> Columns:
    """The columns of the model, one for each dimension of the space."""
    return Columns(tuple(_edges(d) for d in space), tuple(isinstance(d, Categorical) for d in space))


def _edges(d: Dimension) -> Floats | None:
    if isinstance(d, Float) or (isinstance(d, Int) and d.high - d.low >= MAX_CELLS):
        return None
    return np.array(d.edges())


def _conditions(space: Space) -> list[tuple[int, int, Floats]]:
    """For each dimension with a condition: its column, its parent's, and the parent's coordinates where it exists."""
    conditions = []
    for j, d in enumerate(space):
        if d.when is not None:
            parent = space.names.index(d.when[0])
            conditions.append((j, parent, np.array([space.dimensions[parent].to_unit(v) for v in d.when[1]])))
    return conditions


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
    gain = threshold / 2 - good / 2  # halves, lest numbers near the largest float overflow
    return np.maximum(1e-12, gain / gain.max()) if gain.max() > 0 else np.ones(len(good))
