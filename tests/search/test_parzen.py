"""The mixture: it integrates to one, samples what it scores, and puts kernels where it should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from metaft.search.parzen import CATEGORY_SMOOTHING, MIN_BANDWIDTH, Columns, fit, log_density, sample, snap

REAL = Columns(np.array([0]), np.array([False]))
MIXED = Columns(np.array([0, 5, 3]), np.array([False, False, True]))


def mixture(columns: Columns, n: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = snap(rng.random((n, len(columns.cells))), columns)
    return fit(x, rng.random(n) + 0.1, 0.7, columns)


def test_a_real_column_integrates_to_one():
    grid = (np.arange(20_000) + 0.5) / 20_000
    assert np.exp(log_density(mixture(REAL), grid[:, None])).mean() == pytest.approx(1, abs=1e-6)


def test_cells_and_choices_sum_to_one():
    columns = Columns(np.array([5, 3]), np.array([False, True]))
    points = np.array([[(i + 0.5) / 5, (j + 0.5) / 3] for i in range(5) for j in range(3)])
    assert np.exp(log_density(mixture(columns), points)).sum() == pytest.approx(1, abs=1e-9)


def test_density_against_scipy():
    m = mixture(REAL)
    x = np.linspace(0.01, 0.99, 7)
    low, high = (0 - m.mu[:, 0]) / m.sigma[:, 0], (1 - m.mu[:, 0]) / m.sigma[:, 0]
    kernels = stats.truncnorm.pdf(x[:, None], low, high, loc=m.mu[:, 0], scale=m.sigma[:, 0])
    expected = np.log(kernels @ np.exp(m.log_weights))
    np.testing.assert_allclose(log_density(m, x[:, None]), expected, rtol=1e-10)


def test_samples_follow_the_density():
    m = mixture(MIXED)
    draws = sample(m, 40_000, np.random.default_rng(1))
    assert draws.min() >= 0
    assert draws.max() <= 1
    np.testing.assert_array_equal(draws, snap(draws, MIXED))
    one = m._replace(mu=m.mu[:, :1], sigma=m.sigma[:, :1], columns=REAL)
    edges = np.linspace(0, 1, 11)
    seen = np.histogram(draws[:, 0], edges)[0] / len(draws)
    fine = (np.arange(10_000) + 0.5) / 10_000
    expected = np.exp(log_density(one, fine[:, None])).reshape(10, -1).mean(axis=1) / 10
    np.testing.assert_allclose(seen, expected, atol=0.01)
    choices = Columns(np.array([3]), np.array([True]))
    last = m._replace(mu=m.mu[:, 2:], sigma=m.sigma[:, 2:], columns=choices)
    mass = np.exp(log_density(last, np.array([[1 / 6], [0.5], [5 / 6]])))
    seen = np.bincount(np.floor(draws[:, 2] * 3).astype(int), minlength=3) / len(draws)
    np.testing.assert_allclose(seen, mass, atol=0.01)


def test_bandwidths_are_neighbour_gaps_within_bounds():
    x = np.array([[0.1], [0.9], [0.101], [0.4]])
    m = fit(x, np.ones(4), 1.0, REAL)
    assert m.sigma[:, 0] == pytest.approx([max(MIN_BANDWIDTH, 1 / 36), 0.5, 0.299, 0.5, 1.0])
    assert fit(x[:1], np.ones(1), 1.0, REAL).sigma[0, 0] == 1.0


def test_the_prior_is_the_last_kernel():
    m = fit(np.empty((0, 3)), np.empty(0), 1.0, MIXED)
    assert m.mu.shape == (1, 3)
    points = snap(np.random.default_rng(0).random((5, 3)), MIXED)
    assert np.isfinite(log_density(m, points)).all()
    categories = np.exp(log_density(mixture(Columns(np.array([3]), np.array([True])), n=1), np.array([[0.5]])))
    assert 0 < categories < 1
    assert 0 < CATEGORY_SMOOTHING < 1


def test_a_category_with_one_choice_is_certain():
    columns = Columns(np.array([1]), np.array([True]))
    assert np.exp(log_density(mixture(columns), np.array([[0.5]]))) == pytest.approx(1)
    assert (sample(mixture(columns), 9, np.random.default_rng(0)) == 0.5).all()
