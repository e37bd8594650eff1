"""A mixture of product kernels on the unit cube: arrays in, arrays out; no trials, no processes, no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

CATEGORY_SMOOTHING = 0.3  # mass that a categorical kernel gives to the other choices
BLOCK = 2**15  # numbers that are worked on at once, so that they stay in the processor's cache
NOTHING = -700.0  # its exp is negligible beside 1; that of less may be subnormal, which is slow


@dataclass(frozen=True)
class Columns:
    """The kinds of value in d columns.

    Args:
        edges: for each column, None for real numbers, else where its cells begin and end in [0, 1], ascending.
        categorical: for each column, whether its cells are choices without order.
    """

    edges: tuple[Floats | None, ...]
    categorical: tuple[bool, ...]

    @cached_property
    def whole(self) -> list[tuple[int, Floats]]:
        """Columns of whole numbers with their edges."""
        return [(j, e) for j, e in enumerate(self.edges) if e is not None and not self.categorical[j]]

    @cached_property
    def choices(self) -> list[tuple[int, Floats]]:
        """Columns of choices with their edges."""
        return [(j, e) for j, e in enumerate(self.edges) if e is not None and self.categorical[j]]

    def part(self, block: slice) -> Columns:
        """The columns of a slice."""
        return Columns(self.edges[block], self.categorical[block])

    def apart(self) -> list[Columns]:
        """Each column as `Columns` of its own."""
        return [self.part(slice(j, j + 1)) for j in range(len(self.edges))]

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
    most mass on the choice at `mu` and the rest shared by the others, or uniform where `mu` is not a number.
    """

    log_weights: Floats  # [n]
    mu: Floats  # [n, d]
    sigma: Floats  # [n, d]
    columns: Columns


def sample(mixture: Mixture, count: int, rng: np.random.Generator) -> Floats:
    """Points [count, d] from the product of the marginals: in each column a kernel by weight and a draw from it."""
    weights, d = np.exp(mixture.log_weights), len(mixture.columns.edges)
    rows = rng.choice(len(weights), size=(count, d), p=weights / weights.sum())
    mu, sigma = (np.take_along_axis(values, rows, axis=0) for values in (mixture.mu, mixture.sigma))
    low, high = ndtr(-mu / sigma), ndtr((1 - mu) / sigma)
    u = rng.random(mu.shape)
    x: Floats = np.clip(mu + sigma * ndtri(low + u * (high - low)), 0.0, 1.0)
    smoothed = rng.random(mu.shape) < CATEGORY_SMOOTHING
    for j, edges in mixture.columns.choices:
        x[:, j] = _chosen(mu[:, j], smoothed[:, j], u[:, j], len(edges) - 1)
    return mixture.columns.snap(x)


def _chosen(mu: Floats, smoothed: NDArray[np.bool_], u: Floats, count: int) -> Floats:
    """The choice at `mu`, or where smoothed one of the others; any choice where `mu` is not a number."""
    other = mu + (1 + np.floor(u * (count - 1))) / count
    return np.where(np.isnan(mu), u, np.where(smoothed, other % 1.0, mu))


def log_density(mixture: Mixture, x: Floats) -> Floats:
    """Log density [m] of points x [m, d]: log sum_k w_k prod_j k_j(x_j).

    Cells contribute their mass, and what is not a number contributes nothing.
    """
    return log_densities(mixture, x)[0]


def log_densities(
    mixture: Mixture, x: Floats, inside: Floats | None = None, *, rough: bool = False
) -> tuple[Floats, Floats]:
    """The log density [m] of points x [m, d], and that of the marginals' product, sum_j log sum_k w_k k_j(x_j).

    Args:
        inside: `log_inside(mixture.mu, mixture.sigma)` where that is known.
        rough: marginals to about 1e-5, in a fifth of the time; for mixtures with a prior, which are nowhere 0.
    """
    inside = log_inside(mixture.mu, mixture.sigma) if inside is None else inside
    at, mu, sigma, inside = (np.ascontiguousarray(values.T) for values in (x, mixture.mu, mixture.sigma, inside))
    joint, marginals = np.zeros((len(x), len(mixture.mu))), np.empty(at.shape)
    width = max(1, BLOCK // max(1, joint.size))
    for begin in range(0, len(at), width):
        block = slice(begin, begin + width)
        kernels = _log_kernels(at[block], mu[block], sigma[block], inside[block], mixture.columns.part(block))
        for kernel in kernels:
            joint += kernel
        marginals[block] = (_log_sum_single if rough else _log_sum_exp)(kernels, mixture.log_weights)
    return _log_sum_exp(joint, mixture.log_weights), marginals.sum(axis=0)


def _log_sum_single(a: Floats, log_weights: Floats) -> Floats:
    """log sum w exp(a) over the last axis in single precision."""
    total: Floats = np.log(np.exp(a, dtype=np.float32) @ np.exp(log_weights, dtype=np.float32))
    return total


def _log_sum_exp(a: Floats, log_weights: Floats) -> Floats:
    """log sum w exp(a) over the last axis, in place; scipy's takes twice as long on a proposal's arrays."""
    a += log_weights
    peak = a.max(axis=-1, keepdims=True)
    a -= peak
    np.maximum(a, NOTHING, out=a)
    total: Floats = np.log(np.exp(a, out=a).sum(axis=-1)) + peak[..., 0]
    return total


def _log_kernels(x: Floats, mu: Floats, sigma: Floats, inside: Floats, columns: Columns) -> Floats:
    """Log of kernels [d, n] at points [d, m], [d, m, n]; 0 where the point has no number."""
    at, mu, sigma, inside = x[:, :, None], mu[:, None], sigma[:, None], inside[:, None]
    kernels = _log_normal(at, mu, sigma, inside)
    for j, edges in columns.whole:
        kernels[j] = _log_mass(at[j], mu[j], sigma[j], inside[j], edges)
    for j, edges in columns.choices:
        kernels[j] = _log_choice(at[j], mu[j], edges)
    kernels[np.isnan(x)] = 0.0
    return kernels


def _log_normal(x: Floats, mu: Floats, sigma: Floats, inside: Floats) -> Floats:
    """Log of normal kernels cut to [0, 1]."""
    z = x - mu
    z *= np.sqrt(0.5) / sigma
    z *= z
    density: Floats = np.subtract(-np.log(sigma * np.sqrt(2 * np.pi)) - inside, z, out=z)
    return density


def log_inside(mu: Floats, sigma: Floats) -> Floats:
    """Log mass of normal kernels within [0, 1], element by element."""
    mass: Floats = np.log(ndtr((1 - mu) / sigma) - ndtr(-mu / sigma))
    return mass


class LogInside:
    """`log_inside` of kernels [n, d], computed only for those that the last call did not have in the same place."""

    def __init__(self) -> None:
        self._mu = self._sigma = self._mass = np.empty((0, 1))

    def __call__(self, mu: Floats, sigma: Floats) -> Floats:
        """The log masses of these kernels within [0, 1], [n, d]."""
        n, mass, fresh = min(len(mu), len(self._mu)), np.empty_like(mu), np.ones(mu.shape, dtype=np.bool_)
        mass[:n] = self._mass[:n]
        fresh[:n] = (mu[:n] != self._mu[:n]) | (sigma[:n] != self._sigma[:n])
        mass[fresh] = log_inside(mu[fresh], sigma[fresh])
        self._mu, self._sigma, self._mass = mu, sigma, mass
        return mass


def _log_mass(x: Floats, mu: Floats, sigma: Floats, inside: Floats, edges: Floats) -> Floats:
    """Log mass of the points' cells under cut normal kernels."""
    cell = cell_of(x, edges)
    ends = np.append(edges, np.nan)
    low, high = ((ends[np.minimum(cell + k, len(edges))] - mu) / sigma for k in (0, 1))
    with np.errstate(divide="ignore"):  # far out in a tail, where the prior's kernel never is
        mass: Floats = np.log(ndtr(high) - ndtr(low)) - inside
    return mass


def _log_choice(x: Floats, mu: Floats, edges: Floats) -> Floats:
    """Log mass of the points' choices under categorical kernels."""
    count = len(edges) - 1
    hit, miss = np.log(1 - CATEGORY_SMOOTHING), np.log(CATEGORY_SMOOTHING / (count - 1))
    same = cell_of(x, edges) == cell_of(mu, edges)
    return np.where(np.isnan(mu), -np.log(count), np.where(same, hit, miss))
