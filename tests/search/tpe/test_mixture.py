"""The mixture and its fit: it integrates to one, samples what it scores, and puts kernels where it should."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from metaft.search.tpe import mixture as mixtures
from metaft.search.tpe.mixture import (
    CATEGORY_SMOOTHING,
    Columns,
    LogInside,
    Mixture,
    cell_of,
    log_densities,
    log_density,
    log_inside,
    sample,
)
from metaft.search.tpe.parzen import SortedRows, among, fit, joint_floor, single_floor, sorted_rows

LOG_EDGES = np.log(np.arange(1, 9)) / np.log(8)  # of the whole numbers 1 to 7 on a log scale
FIVE, THREE = np.linspace(0, 1, 6), np.linspace(0, 1, 4)
REAL = Columns((None,), (False,))
WHOLE = Columns((LOG_EDGES,), (False,))
CHOICE = Columns((THREE,), (True,))
MIXED = Columns((None, FIVE, THREE, LOG_EDGES), (False, False, True, False))


def mixture(columns: Columns, n: int = 6, seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    x = columns.snap(rng.random((n, len(columns.edges))))
    return fit(x, rng.random(n) + 0.1, columns)


def middles(edges):
    return (edges[1:] + edges[:-1]) / 2


def test_a_real_column_integrates_to_one():
    grid = (np.arange(20_000) + 0.5) / 20_000
    assert np.exp(log_density(mixture(REAL), grid[:, None])).mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("columns", [WHOLE, CHOICE], ids=["whole", "choice"])
def test_masses_sum_to_one(columns):
    points = middles(columns.edges[0])[:, None]
    assert np.exp(log_density(mixture(columns), points)).sum() == pytest.approx(1, abs=1e-12)


def test_a_mixed_density_integrates_to_one():
    grid = (np.arange(500) + 0.5) / 500
    points = np.array(list(itertools.product(grid, middles(FIVE), middles(THREE), middles(LOG_EDGES))))
    assert np.exp(log_density(mixture(MIXED), points)).sum() / 500 == pytest.approx(1, abs=1e-4)


def test_kernels_against_scipy():
    m = mixture(REAL)
    x = np.linspace(0.01, 0.99, 7)
    low, high = (0 - m.mu[:, 0]) / m.sigma[:, 0], (1 - m.mu[:, 0]) / m.sigma[:, 0]
    expected = stats.truncnorm.logpdf(x[:, None], low, high, loc=m.mu[:, 0], scale=m.sigma[:, 0])
    for k in range(len(m.mu)):
        one = Mixture(np.zeros(1), m.mu[k : k + 1], m.sigma[k : k + 1], REAL)
        np.testing.assert_allclose(log_density(one, x[:, None]), expected[:, k], rtol=1e-10)


def test_masses_against_scipy():
    m = mixture(WHOLE)
    low, high = (0 - m.mu[:, 0]) / m.sigma[:, 0], (1 - m.mu[:, 0]) / m.sigma[:, 0]
    steps = stats.truncnorm.cdf(LOG_EDGES[:, None], low, high, loc=m.mu[:, 0], scale=m.sigma[:, 0])
    expected = np.log(np.diff(steps, axis=0) @ np.exp(m.log_weights))
    np.testing.assert_allclose(log_density(m, middles(LOG_EDGES)[:, None]), expected, rtol=1e-10)


def test_columns_multiply_within_a_kernel():
    """By hand: a kernel's density is the product of its columns'."""
    m = mixture(MIXED, n=1)
    alone = Mixture(np.zeros(1), m.mu[:1], m.sigma[:1], MIXED)
    points = MIXED.snap(np.random.default_rng(1).random((9, 4)))
    parts = [
        log_density(Mixture(np.zeros(1), m.mu[:1, j : j + 1], m.sigma[:1, j : j + 1], c), points[:, j : j + 1])
        for j, c in enumerate(MIXED.apart())
    ]
    np.testing.assert_allclose(log_density(alone, points), sum(parts), rtol=1e-12)


def test_what_is_not_a_number_contributes_nothing():
    m = mixture(MIXED)
    points = MIXED.snap(np.random.default_rng(1).random((9, 4)))
    blank = points.copy()
    blank[:, 1:3] = np.nan
    rest = Columns(*(tuple(np.array(part, dtype=object)[[0, 3]]) for part in (MIXED.edges, MIXED.categorical)))
    m2 = Mixture(m.log_weights, m.mu[:, [0, 3]], m.sigma[:, [0, 3]], rest)
    np.testing.assert_allclose(log_density(m, blank), log_density(m2, points[:, [0, 3]]), rtol=1e-12)


def test_samples_follow_the_density():
    m = mixture(MIXED)
    draws = sample(m, 40_000, np.random.default_rng(1))
    assert draws.min() >= 0
    assert draws.max() <= 1
    np.testing.assert_array_equal(draws, MIXED.snap(draws))
    for j, column in enumerate(MIXED.apart()):
        one = Mixture(m.log_weights, m.mu[:, j : j + 1], m.sigma[:, j : j + 1], column)
        edges = column.edges[0]
        if edges is None:
            edges = np.linspace(0, 1, 11)
            fine = (np.arange(10_000) + 0.5) / 10_000
            expected = np.exp(log_density(one, fine[:, None])).reshape(10, -1).mean(axis=1) / 10
        else:
            expected = np.exp(log_density(one, middles(edges)[:, None]))
        seen = np.histogram(draws[:, j], edges)[0] / len(draws)
        np.testing.assert_allclose(seen, expected, atol=0.01)


def test_bandwidths_are_neighbour_gaps_within_bounds():
    x = np.array([[0.1], [0.9], [0.101], [0.4]])
    m = fit(x, np.ones(4), REAL)
    assert m.sigma[:, 0] == pytest.approx([joint_floor(4), 0.5, 0.299, 0.5, 1.0])
    assert fit(x, np.ones(4), REAL, single_floor).sigma[0, 0] == pytest.approx(1 / 6)
    assert [joint_floor(n) for n in (1, 2, 100)] == pytest.approx([1 / 9, 1 / 16, 0.03])
    assert [single_floor(n) for n in (1, 200)] == pytest.approx([1 / 3, 1 / 100])
    assert fit(x[:1], np.ones(1), REAL).sigma[0, 0] == 1.0
    missing = fit(np.array([[0.1], [np.nan], [0.4]]), np.ones(3), REAL)
    assert missing.sigma[:, 0] == pytest.approx([0.3, 1.0, 0.3, 1.0]), "neighbours are those that are there"
    assert missing.mu[1, 0] == 0.5, "where it is not, the prior stands"


def test_the_prior_is_the_last_kernel_and_of_mean_weight():
    m = fit(np.empty((0, 4)), np.empty(0), MIXED)
    assert m.mu.shape == (1, 4)
    points = MIXED.snap(np.random.default_rng(0).random((5, 4)))
    assert np.isfinite(log_density(m, points)).all()
    one = fit(np.array([[1 / 6]]), np.ones(1), CHOICE)
    masses = np.exp(log_density(one, middles(THREE)[:, None]))
    own, other = 1 - CATEGORY_SMOOTHING, CATEGORY_SMOOTHING / 2
    np.testing.assert_allclose(masses, [(own + 1 / 3) / 2, (other + 1 / 3) / 2, (other + 1 / 3) / 2])
    assert np.exp(fit(np.array([[0.2], [0.7]]), np.array([3.0, 1.0]), REAL).log_weights) == pytest.approx(
        [1 / 2, 1 / 6, 1 / 3]
    )


def test_cells():
    assert cell_of(np.array([0.0, 0.2, 0.999, 1.0, np.nan]), FIVE).tolist() == [0, 1, 4, 4, 5]


def test_blocks_change_no_density(monkeypatch):
    m = mixture(MIXED, n=40)
    points = MIXED.snap(np.random.default_rng(1).random((9, 4)))
    expected = log_densities(m, points)
    for block in (1, 2 * 9 * 41, 10**9):
        monkeypatch.setattr(mixtures, "BLOCK", block)
        np.testing.assert_array_equal(log_densities(m, points), expected)
        np.testing.assert_allclose(log_densities(m, points, rough=True), expected, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(log_densities(m, points[4:6]), np.array(expected)[:, 4:6])
    far = Mixture(np.log([0.5, 0.5]), np.array([[0.01], [0.5]]), np.array([[1e-3], [1.0]]), REAL)
    alone = Mixture(np.log([0.5]), far.mu[1:], far.sigma[1:], REAL)
    assert log_density(far, np.array([[0.9]])) == log_density(alone, np.array([[0.9]])), "the other is nothing there"


def test_sorting_goes_on_from_what_was_sorted():
    rng = np.random.default_rng(0)
    x = rng.integers(4, size=(30, 3)) / 4  # with equal ones
    x[rng.random((30, 3)) < 0.2] = np.nan
    expected = [np.argsort(x[:n], axis=0, kind="stable").T for n in range(31)]
    kept = SortedRows()
    for n in (0, 1, 2, 3, 20, 30, 5, 30):
        np.testing.assert_array_equal(kept(x[:n]), expected[n])
    np.testing.assert_array_equal(kept(x[::-1]), np.argsort(x[::-1], axis=0, kind="stable").T)
    rows = np.flatnonzero(rng.random(30) < 0.5)
    np.testing.assert_array_equal(among(sorted_rows(x), rows), sorted_rows(x[rows]))


def test_masses_are_computed_again_only_where_something_changed(monkeypatch):
    rng, computed = np.random.default_rng(0), []
    mu, sigma, kept = rng.random((20, 3)), rng.random((20, 3)) + 0.1, LogInside()
    counted = lambda *args: (computed.append(args[0].size), log_inside(*args))[1]  # noqa: E731
    monkeypatch.setattr(mixtures, "log_inside", counted)
    other = np.where(np.arange(20)[:, None] == 4, 0.5, sigma)
    for rows, bandwidths in ((20, sigma), (20, other), (19, other), (20, sigma)):
        np.testing.assert_array_equal(kept(mu[:rows], bandwidths[:rows]), log_inside(mu[:rows], bandwidths[:rows]))
    assert computed == [60, 3, 0, 6]
