"""The Parzen estimator: observations in the unit cube to a mixture with a kernel on each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metaft.search.mixture import Columns, Floats, Mixture


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


def fit(x: Floats, weights: Floats, columns: Columns, floor: Callable[[int], float] = joint_floor) -> Mixture:
    """A kernel on every observation x [n, d] by weight [n], and the prior as the last one, of mean weight.

    Bandwidths are the larger gap to a neighbour in each column, at least `floor(n)` and at most 1. The prior is normal
    about the middle with bandwidth 1, over choices uniform; so is an observation's kernel in a column where it is not
    a number.

    Source: Bergstra et al., NeurIPS 2011.
    """
    n, d = x.shape
    numeric = ~np.array(columns.categorical)
    sigma = np.clip(_gaps(x), floor(n), 1.0)
    mu = np.vstack([x, np.full(d, np.nan)])
    w = np.append(weights, weights.mean() if n else 1.0)
    return Mixture(
        log_weights=np.log(w / w.sum()),
        mu=np.where(np.isnan(mu) & numeric, 0.5, mu),
        sigma=np.vstack([sigma, np.ones(d)]),
        columns=columns,
    )


def _gaps(x: Floats) -> Floats:
    """The larger distance to a neighbour, by column; 1 for what is alone or not a number."""
    order = np.argsort(x, axis=0, kind="stable")  # what is not a number comes last
    steps = np.diff(np.take_along_axis(x, order, axis=0), axis=0)
    none = np.full((min(1, len(x)), x.shape[1]), np.nan)
    larger = np.fmax(np.vstack([none, steps]), np.vstack([steps, none]))
    gaps = np.empty_like(x)
    np.put_along_axis(gaps, order, larger, axis=0)
    return np.where(np.isnan(gaps), 1.0, gaps)
