"""The Parzen estimator: observations in the unit cube to a mixture with a kernel on each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from metaft.search.tpe.mixture import Columns, Floats, Mixture


def joint_floor(n: int) -> float:
    """The least bandwidth of n kernels over several columns, max(0.03, (n + 2)^-2).

    Source: Watanabe, arXiv 2304.11127.
    """
    return max(0.03, (n + 2.0) ** -2)


def single_floor(n: int) -> float:
    """The least bandwidth of n kernels over one column, 1 / min(100, n + 2).

    Source: Bergstra et al., NeurIPS 2011, as in hyperopt.
    """
    return 1.0 / min(100, n + 2)


def sorted_rows(x: Floats, nearly: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The rows of x [n, d] by each column's values [d, n], equal ones by number; what is not a number comes last.

    `nearly` is an order of the rows [d, n] to sort from, equal ones by number; the nearer it is, the faster the sort.
    """
    nearly = np.tile(np.arange(len(x)), (x.shape[1], 1)) if nearly is None else nearly
    order = np.argsort(np.take_along_axis(x.T, nearly, axis=1), axis=1, kind="stable")
    return np.take_along_axis(nearly, order, axis=1)


class SortedRows:
    """`sorted_rows` of points that mostly begin with those of the last call."""

    def __init__(self) -> None:
        self._x, self._order = np.empty((0, 0)), np.empty((0, 0), dtype=np.int64)

    def __call__(self, x: Floats) -> NDArray[np.int64]:
        """The order [d, n] of points x [n, d]."""
        nearly, known = None, len(self._x)
        if np.array_equal(x[:known], self._x, equal_nan=True):
            nearly = np.hstack([self._order, np.tile(np.arange(known, len(x)), (x.shape[1], 1))])
        self._x, self._order = x, sorted_rows(x, nearly)
        return self._order


def among(order: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """`sorted_rows` of x[rows] from that of x, for rows in ascending order."""
    d, n = order.shape
    numbers = np.full(n, -1)
    numbers[rows] = np.arange(len(rows))
    renumbered = numbers[order]
    return renumbered[renumbered >= 0].reshape(d, len(rows))


def fit(
    x: Floats,
    weights: Floats,
    columns: Columns,
    floor: Callable[[int], float] = joint_floor,
    order: NDArray[np.int64] | None = None,
) -> Mixture:
    """A kernel on every observation x [n, d] by weight [n], and the prior as the last one, of mean weight.

    Bandwidths are the larger gap to a neighbour in each column, at least `floor(n)` and at most 1. The prior is normal
    about the middle with bandwidth 1, and uniform over choices; so is an observation's kernel in a column where it is
    not a number. `order` is `sorted_rows(x)` where that is known.

    Source: Bergstra et al., NeurIPS 2011.
    """
    n, d = x.shape
    numeric = ~np.array(columns.categorical)
    sigma = np.clip(_gaps(x, sorted_rows(x) if order is None else order), floor(n), 1.0)
    mu = np.vstack([x, np.full(d, np.nan)])
    w = np.append(weights, weights.mean() if n else 1.0)
    return Mixture(
        log_weights=np.log(w / w.sum()),
        mu=np.where(np.isnan(mu) & numeric, 0.5, mu),
        sigma=np.vstack([sigma, np.ones(d)]),
        columns=columns,
    )


def _gaps(x: Floats, order: NDArray[np.int64]) -> Floats:
    """The larger distance to a neighbour [n, d], by column; 1 for a number alone in it or what is not a number."""
    steps = np.full((len(order), len(x) + 1), np.nan)  # none before the first and after the last
    steps[:, 1:-1] = np.diff(np.take_along_axis(x.T, order, axis=1), axis=1)
    gaps = np.empty(order.shape)
    np.put_along_axis(gaps, order, np.fmax(steps[:, :-1], steps[:, 1:]), axis=1)
    return np.where(np.isnan(gaps), 1.0, gaps).T
