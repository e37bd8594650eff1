"""Parzen mixtures over the unit cube: arrays in, arrays out; no trials, no processes, no files.

Numeric columns bear normal kernels cut to [0, 1]; categorical columns bear a choice with some mass on the others. One
kernel spans all columns (a product), and the prior is simply the last kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

Floats = NDArray[np.float64]

MIN_BANDWIDTH = 0.03
CATEGORY_SMOOTHING = 0.5  # mass of a categorical kernel off its own choice


class Columns(NamedTuple):
    """What the columns are: `cells` 0 for a real number, else how many equal cells; `categorical` by column."""

    cells: NDArray[np.int64]
    categorical: NDArray[np.bool_]


class Mixture(NamedTuple):
    """n kernels over d columns. A categorical column's `mu` is the middle of its choice's cell, or NaN (uniform)."""

    log_weights: Floats  # [n]
    mu: Floats  # [n, d]
    sigma: Floats  # [n, d]
    columns: Columns


def fit(x: Floats, weights: Floats, prior_weight: float, columns: Columns) -> Mixture:
    """A kernel on every observation x [n, d], and the prior as the last one.

    Bandwidths are the larger gap to a neighbour in each column, at least max(0.03, (n + 2)^-2) and at most 1.

    Source: Bergstra et al., NeurIPS 2011; minimum bandwidth and smoothing: Watanabe, arXiv 2304.11127.
    """
    n, d = x.shape
    sigma = np.clip(_gaps(x), max(MIN_BANDWIDTH, (n + 2.0) ** -2), 1.0)
    prior_mu = np.where(columns.categorical, np.nan, 0.5)
    w = np.append(weights, prior_weight)
    return Mixture(
        log_weights=np.log(w / w.sum()),
        mu=np.vstack([x, prior_mu]),
        sigma=np.vstack([sigma, np.ones(d)]),
        columns=columns,
    )


def _gaps(x: Floats) -> Floats:
    """The larger distance to a neighbour, by column; the outermost have one neighbour, a lone point none (1)."""
    if len(x) < 2:
        return np.ones_like(x)
    order = np.argsort(x, axis=0, kind="stable")
    steps = np.diff(np.take_along_axis(x, order, axis=0), axis=0)
    edge = np.full((1, x.shape[1]), -np.inf)
    larger = np.maximum(np.vstack([edge, steps]), np.vstack([steps, edge]))
    gaps = np.empty_like(x)
    np.put_along_axis(gaps, order, larger, axis=0)
    return gaps


def snap(x: Floats, columns: Columns) -> Floats:
    """Move numbers of columns with cells to the middle of their cell."""
    cells = np.maximum(columns.cells, 1)
    middles = (np.minimum(np.floor(x * cells), cells - 1) + 0.5) / cells
    return np.where(columns.cells > 0, middles, x)


def sample(mixture: Mixture, count: int, rng: np.random.Generator) -> Floats:
    """Points [count, d]: one kernel for all columns of a point, then a draw from it."""
    weights = np.exp(mixture.log_weights)
    rows = rng.choice(len(weights), size=count, p=weights / weights.sum())
    mu, sigma = mixture.mu[rows], mixture.sigma[rows]
    low, high = ndtr((0 - mu) / sigma), ndtr((1 - mu) / sigma)
    u = rng.random(mu.shape)
    numeric = np.clip(mu + sigma * ndtri(low + u * (high - low)), 0.0, 1.0)
    elsewhere = rng.random(mu.shape) < CATEGORY_SMOOTHING
    cells = np.maximum(mixture.columns.cells, 1)
    shift = 1 + np.floor(u * np.maximum(cells - 1, 1)) * (cells > 1)
    other = (np.floor(mu * cells) + shift) % cells
    category = np.where(elsewhere & (cells > 1), (other + 0.5) / cells, mu)
    category = np.where(np.isnan(mu), u, category)
    return snap(np.where(mixture.columns.categorical, category, numeric), mixture.columns)


def log_density(mixture: Mixture, x: Floats) -> Floats:
    """Log density [m] of points x [m, d]; columns with cells contribute the mass of a cell."""
    mu, sigma, columns = mixture.mu[None], mixture.sigma[None], mixture.columns
    point = x[:, None, :]
    half = 0.5 / np.maximum(columns.cells, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.log(ndtr((1 - mu) / sigma) - ndtr((0 - mu) / sigma))
        density = -0.5 * ((point - mu) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
        mass = np.log(ndtr((point + half - mu) / sigma) - ndtr((point - half - mu) / sigma))
    numeric = np.where(columns.cells > 0, mass, density) - total
    kernels = np.where(columns.categorical, _log_category(point, mu, columns), numeric).sum(axis=2)
    result: Floats = logsumexp(kernels + mixture.log_weights, axis=1)
    return result


def _log_category(point: Floats, mu: Floats, columns: Columns) -> Floats:
    choices = np.maximum(columns.cells, 1)
    own = np.where(choices > 1, 1 - CATEGORY_SMOOTHING, 1.0)
    off = CATEGORY_SMOOTHING / np.maximum(choices - 1, 1)
    same = np.floor(point * choices) == np.floor(np.nan_to_num(mu) * choices)
    return np.log(np.where(np.isnan(mu), 1 / choices, np.where(same, own, off)))
