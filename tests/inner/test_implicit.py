"""The implicit function theorem at the optimum of a ridge regression; truncation is its Neumann series."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import ConfigError
from metaft.inner.hypergradient import estimate
from metaft.inner.implicit import Implicit
from metaft.inner.loop import Loop
from metaft.inner.solvers import ConjugateGradients, Neumann
from metaft.inner.state import InnerState
from tests.inner.ridge import RATE, D, Ridge


def test_conjugate_gradients_are_exact_in_as_many_iterations_as_dimensions():
    ridge = Ridge()
    assert ridge.gradient(1, "implicit", linear_solver="cg", iterations=D) == pytest.approx(ridge.exact, rel=1e-12)
    short = ridge.gradient(1, "implicit", linear_solver="cg", iterations=D - 2)
    assert short != pytest.approx(ridge.exact, rel=1e-6)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_truncation_is_a_neumann_series_at_the_minimum(k):
    ridge = Ridge()
    cut = ridge.gradient(12, "truncated", last=k)
    series = ridge.gradient(12, "implicit", linear_solver="neumann", iterations=k, scale=RATE)
    assert cut == pytest.approx(series, rel=1e-12)
    exact = abs(ridge.exact)
    slowest = 1 - RATE * float(torch.linalg.eigvalsh(ridge.hessian)[0])
    assert abs(cut - ridge.exact) <= 10 * exact * slowest**k


def test_damping_adds_to_the_hessian():
    ridge = Ridge()
    w = ridge.optimum
    damped = ridge.hessian + 0.7 * torch.eye(D, dtype=torch.float64)
    expected = -float((w - ridge.target) @ torch.linalg.solve(damped, w))
    assert ridge.gradient(1, "implicit", iterations=D, damping=0.7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["lr", "wd@head"])
def test_refuses_what_the_inner_loss_does_not_hold(name):
    ridge = Ridge()
    ridge.h[name] = torch.tensor(0.1)
    with pytest.raises(ConfigError, match=rf"'implicit' cannot differentiate by {name}.*unroll"):
        ridge.gradient(1, "implicit")


def test_needs_the_inner_loss():
    def bare(state, batch, h):
        return state

    start = InnerState((torch.ones(1, dtype=torch.float64),), (), (), 0)
    with pytest.raises(TypeError, match="has no `loss"):
        estimate(bare, start, [0], {"w": torch.tensor(1.0)}, lambda s: s.params[0].sum(), "keep", "implicit")


def test_cost_counts_the_products():
    loop = Loop(Ridge(), InnerState((), (), (), 0), range(7), {}, sum)
    for solve in (ConjugateGradients(4), Neumann(4, 0.1)):
        assert Implicit(solve).products == 5
        assert Implicit(solve).cost(loop) == 7 + 1 + 2 * 5
