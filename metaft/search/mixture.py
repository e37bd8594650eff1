"""A mixture of product kernels on the unit cube: arrays in, arrays out; no trials, no processes, no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

CATEGORY_SMOOTHING = 0.3  # mass of a categorical kernel off its own choice


@dataclass(frozen=True)
class Columns:
    """What the d columns hold.

    Args:
        edges: of each column, None for a real number, else where its cells begin and end in [0, 1], ascending.
        categorical: of each column, whether its cells are choices without order.
    """

    edges: tuple[Floats | None, ...]
    categorical: tuple[bool, ...]

    @cached_property
    def real(self) -> list[int]:
        """Columns of real numbers."""
        return [j for j, edges in enumerate(self.edges) if edges is None]

    @cached_property
    def whole(self) -> list[tuple[int, Floats]]:
        """Columns of whole numbers with their edges."""
        return [(j, e) for j, e in enumerate(self.edges) if e is not None and not self.categorical[j]]

    @cached_property
    def choices(self) -> list[tuple[int, Floats]]:
        """Columns of choices with their edges."""
        return [(j, e) for j, e in enumerate(self.edges) if e is not None and self.categorical[j]]

    def apart(self) -> list[Columns]:
        """Each column alone."""
        return [Columns((e,), (c,)) for e, c in zip(self.edges, self.categorical, strict=True)]

    def snap(self, x: Floats) -> Floats:
        """Points [m, d] with every number moved to the middle of its cell, where its column has cells."""
        snapped = x.copy()
        for j, edges in (*self.whole, *self.choices):
            middles = np.append((edges[1:] + edges[:-1]) / 2, np.nan)
            snapped[:, j] = middles[cell_of(x[:, j], edges)]
        return snapped


def cell_of(x: Floats, edges: Floats) -> NDArray[np.int64]:
    """The number of each point's cell; for what is not a number, one past the last."""
    inside = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    return np.where(np.isnan(x), len(edges) - 1, inside)


class Mixture(NamedTuple):
    """n kernels over d columns, one kernel for all columns of a point.

    Numbers have normal kernels cut to [0, 1] (of whole numbers, the mass of a cell counts); choices have a kernel with
    most mass on the own choice and the rest shared by the others, or uniform where `mu` is not a number.
    """

    log_weights: Floats  # [n]
    mu: Floats  # [n, d]
    sigma: Floats  # [n, d]
    columns: Columns


def sample(mixture: Mixture, count: int, rng: np.random.Generator) -> Floats:
    """Points [count, d] from the product of the marginals: in each column a kernel by weight and a draw from it."""
    weights, d = np.exp(mixture.log_weights), len(mixture.columns.edges)
    rows = rng.choice(len(weights), size=(count, d), p=weights / weights.sum())
    mu, sigma = (np.take_along_axis(of, rows, axis=0) for of in (mixture.mu, mixture.sigma))
    low, high = ndtr(-mu / sigma), ndtr((1 - mu) / sigma)
    u = rng.random(mu.shape)
    x: Floats = np.clip(mu + sigma * ndtri(low + u * (high - low)), 0.0, 1.0)
    elsewhere = rng.random(mu.shape) < CATEGORY_SMOOTHING
    for j, edges in mixture.columns.choices:
        x[:, j] = _chosen(mu[:, j], elsewhere[:, j], u[:, j], len(edges) - 1)
    return mixture.columns.snap(x)


def _chosen(mu: Floats, elsewhere: NDArray[np.bool_], u: Floats, count: int) -> Floats:
    """The own choice, one of the others, or any where there is none of its own."""
    other = mu + (1 + np.floor(u * (count - 1))) / count
    return np.where(np.isnan(mu), u, np.where(elsewhere, other % 1.0, mu))


def log_density(mixture: Mixture, x: Floats) -> Floats:
    """Log density [m] of points x [m, d]: log sum_k w_k prod_j k_j(x_j).

    Cells contribute their mass, and what is not a number contributes nothing.
    """
    return log_densities(mixture, x)[0]


def log_densities(mixture: Mixture, x: Floats) -> tuple[Floats, Floats]:
    """The log density [m] of points x [m, d], and that of the marginals' product, sum_j log sum_k w_k k_j(x_j)."""
    kernels = _log_kernels(mixture, x)
    joint = _log_sum_exp(kernels.sum(axis=0) + mixture.log_weights)
    kernels += mixture.log_weights
    return joint, _log_sum_exp(kernels).sum(axis=0)


def _log_sum_exp(a: Floats) -> Floats:
    """log sum exp over the last axis, in place; scipy's takes twice as long on a proposal's arrays."""
    peak = a.max(axis=-1, keepdims=True)
    a -= peak
    total: Floats = np.log(np.exp(a, out=a).sum(axis=-1)) + peak[..., 0]
    return total


def _log_kernels(mixture: Mixture, x: Floats) -> Floats:
    """Log of each kernel at each point in each column, [d, m, n]; 0 where the point has no number."""
    at, mu, sigma, columns = x.T[:, :, None], mixture.mu.T[:, None], mixture.sigma.T[:, None], mixture.columns
    kernels = np.empty(np.broadcast_shapes(at.shape, mu.shape))
    kernels[columns.real] = _log_normal(at[columns.real], mu[columns.real], sigma[columns.real])
    for j, edges in columns.whole:
        kernels[j] = _log_mass(at[j], mu[j], sigma[j], edges)
    for j, edges in columns.choices:
        kernels[j] = _log_choice(at[j], mu[j], edges)
    kernels[np.isnan(x.T)] = 0.0
    return kernels


def _log_normal(x: Floats, mu: Floats, sigma: Floats) -> Floats:
    """Log of normal kernels cut to [0, 1]."""
    z = (x - mu) * (np.sqrt(0.5) / sigma)
    z *= z
    density: Floats = np.subtract(-np.log(sigma * np.sqrt(2 * np.pi)) - _log_inside(mu, sigma), z, out=z)
    return density


def _log_inside(mu: Floats, sigma: Floats) -> Floats:
    """Log mass of normal kernels within [0, 1]."""
    mass: Floats = np.log(ndtr((1 - mu) / sigma) - ndtr(-mu / sigma))
    return mass


def _log_mass(x: Floats, mu: Floats, sigma: Floats, edges: Floats) -> Floats:
    """Log mass of the points' cells under cut normal kernels."""
    cell = cell_of(x, edges)
    ends = np.append(edges, np.nan)
    low, high = ((ends[np.minimum(cell + k, len(edges))] - mu) / sigma for k in (0, 1))
    with np.errstate(divide="ignore"):  # far out in a tail; the prior kernel is never there
        mass: Floats = np.log(ndtr(high) - ndtr(low)) - _log_inside(mu, sigma)
    return mass


def _log_choice(x: Floats, mu: Floats, edges: Floats) -> Floats:
    """Log mass of the points' choices under categorical kernels."""
    count = len(edges) - 1
    own, other = np.log(1 - CATEGORY_SMOOTHING), np.log(CATEGORY_SMOOTHING / (count - 1))
    same = cell_of(x, edges) == cell_of(mu, edges)
    return np.where(np.isnan(mu), -np.log(count), np.where(same, own, other))
