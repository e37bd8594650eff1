"""Estimators on problems whose hypergradients are known: ridge regression, quadratics, one AdamW step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metaft.errors import ConfigError
from metaft.inner import InnerState, Options, estimate
from metaft.inner.adamw import FLOOR, Constants, adamw

D, N, RATE = 6, 20, 0.3
EXACT = [("unroll", "keep"), ("unroll", "replay"), ("unroll", "segments"), ("unroll", "auto"), ("forward", "keep")]


def at(*values: float) -> InnerState:
    return InnerState((torch.tensor(values, dtype=torch.float64),), (), (), 0)


class Ridge:
    """Gradient descent on |X w - y|^2 / 2n + lam |w|^2 / 2, and the validation loss |w - target|^2 / 2."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        x = torch.randn(N, D, generator=g, dtype=torch.float64)
        y = torch.randn(N, generator=g, dtype=torch.float64)
        self.a, self.b = x.T @ x / N, x.T @ y / N
        self.target = torch.randn(D, generator=g, dtype=torch.float64)
        self.h = {"lam": torch.tensor(0.5, dtype=torch.float64)}

    def loss(self, params, batch, h) -> Tensor:
        (w,) = params
        return w @ self.a @ w / 2 - self.b @ w + h["lam"] * (w @ w) / 2

    def __call__(self, state, batch, h) -> InnerState:
        (w,) = state.params
        return state._replace(params=(w - RATE * (self.a @ w - self.b + h["lam"] * w),))

    def outer(self, state) -> Tensor:
        return (state.params[0] - self.target).square().sum() / 2

    @property
    def hessian(self) -> Tensor:
        return self.a + self.h["lam"] * torch.eye(D, dtype=torch.float64)

    @property
    def optimum(self) -> Tensor:
        return torch.linalg.solve(self.hessian, self.b)

    @property
    def exact(self) -> float:
        """d/dlam |w* - target|^2 / 2 = -(w* - target)' H^-1 w*."""
        w = self.optimum
        return -float((w - self.target) @ torch.linalg.solve(self.hessian, w))

    def gradient(self, steps: int, estimator: str = "unroll", storage: str = "keep", start=None, **options) -> float:
        state = InnerState((self.optimum if start is None else start,), (), (), 0)
        _, found = estimate(self, state, range(steps), self.h, self.outer, storage, estimator, Options(**options))
        return float(found["lam"])


@pytest.mark.parametrize(("estimator", "storage"), EXACT)
def test_ridge_unrolled_to_convergence_is_exact(estimator, storage):
    ridge = Ridge()
    zero = torch.zeros(D, dtype=torch.float64)
    assert ridge.gradient(300, estimator, storage, start=zero) == pytest.approx(ridge.exact, rel=1e-10)
    assert ridge.gradient(3, estimator, storage, start=zero) != pytest.approx(ridge.exact, rel=1e-2)


def test_conjugate_gradients_are_exact_in_as_many_iterations_as_dimensions():
    ridge = Ridge()
    assert ridge.gradient(1, "implicit", solver="cg", iterations=D) == pytest.approx(ridge.exact, rel=1e-12)
    assert ridge.gradient(1, "implicit", solver="cg", iterations=D - 2) != pytest.approx(ridge.exact, rel=1e-6)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_truncation_is_a_neumann_series_at_the_minimum(k):
    ridge = Ridge()
    cut = ridge.gradient(12, "truncated", last=k)
    series = ridge.gradient(12, "implicit", solver="neumann", iterations=k, scale=RATE)
    assert cut == pytest.approx(series, rel=1e-12)
    exact = abs(ridge.exact)
    slowest = 1 - RATE * float(torch.linalg.eigvalsh(ridge.hessian)[0])
    assert abs(cut - ridge.exact) <= 10 * exact * slowest**k


def test_one_step_is_truncation_after_one():
    ridge = Ridge()
    assert ridge.gradient(12, "one_step") == ridge.gradient(12, "truncated", last=1)
    w = ridge.optimum
    assert ridge.gradient(12, "one_step") == pytest.approx(-RATE * float((w - ridge.target) @ w), rel=1e-12)


def test_damping_adds_to_the_hessian():
    ridge = Ridge()
    w = ridge.optimum
    damped = ridge.hessian + 0.7 * torch.eye(D, dtype=torch.float64)
    expected = -float((w - ridge.target) @ torch.linalg.solve(damped, w))
    assert ridge.gradient(1, "implicit", iterations=D, damping=0.7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("estimator", "storage"), EXACT)
def test_decayed_descent_on_a_quadratic(estimator, storage):
    """p_T = (1 - lr (a + wd))^T p_0; the outer loss p_T^2 / 2 has its derivatives by hand."""
    p0, a, steps = 2.0, 0.7, 7
    h = {"lr": torch.tensor(0.1, dtype=torch.float64), "wd": torch.tensor(0.3, dtype=torch.float64)}

    def step(state, batch, h):
        (p,) = state.params
        return state._replace(params=((1 - h["lr"] * h["wd"]) * p - h["lr"] * a * p,))

    value, found = estimate(step, at(p0), range(steps), h, lambda s: s.params[0].square().sum() / 2, storage, estimator)
    shrink = 1 - 0.1 * (a + 0.3)
    common = p0**2 * steps * shrink ** (2 * steps - 1)
    assert float(value) == pytest.approx(p0**2 * shrink ** (2 * steps) / 2, rel=1e-13)
    assert float(found["lr"]) == pytest.approx(-common * (a + 0.3), rel=1e-12)
    assert float(found["wd"]) == pytest.approx(-common * 0.1, rel=1e-12)


@pytest.mark.parametrize(("estimator", "storage"), EXACT)
def test_two_steps_of_adamw_on_a_quadratic(estimator, storage):
    """AdamW by hand on w p^2 / 2, whose first step is p - lr (wd p + g / (|g| + eps)), g = w p."""
    p0, b1, b2, eps = 1.5, 0.8, 0.9, 1e-2
    numbers = {"w": 0.6, "lr": 0.1, "wd": 0.3}
    h = {name: torch.tensor(x, dtype=torch.float64) for name, x in numbers.items()}

    def step(state, batch, h):
        grads = [h["w"] * p for p in state.params]
        parts = adamw(*state[:1], grads, *state[1:3], h["lr"], h["wd"], Constants(b1, b2, eps, state.step + 1))
        return InnerState(*map(tuple, parts), state.step + 1)

    def by_hand(w: float, lr: float, wd: float) -> float:
        g1 = w * p0
        p1 = p0 * (1 - lr * wd) - lr * g1 / (math.sqrt(g1 * g1 + FLOOR / (1 - b2)) + eps)
        g2 = w * p1
        m, v = b1 * (1 - b1) * g1 + (1 - b1) * g2, b2 * (1 - b2) * g1**2 + (1 - b2) * g2**2
        p2 = p1 * (1 - lr * wd) - lr * m / (1 - b1**2) / (math.sqrt(v / (1 - b2**2)) + eps)
        return p2**2 / 2

    zero = torch.zeros(1, dtype=torch.float64)
    state = InnerState((torch.tensor([p0], dtype=torch.float64),), (zero,), (zero,), 0)
    value, found = estimate(step, state, range(2), h, lambda s: s.params[0].square().sum() / 2, storage, estimator)
    assert float(value) == pytest.approx(by_hand(**numbers), rel=1e-13)
    for name, x in numbers.items():
        high, low = (by_hand(**{**numbers, name: x * (1 + d)}) for d in (1e-6, -1e-6))
        assert float(found[name]) == pytest.approx((high - low) / (2e-6 * x), rel=1e-6)


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match=r"inner\.steps: 0 steps; allowed: at least 1"):
        Ridge().gradient(0)


@pytest.mark.parametrize("name", ["lr", "wd@head"])
def test_implicit_refuses_what_the_inner_loss_does_not_hold(name):
    ridge = Ridge()
    ridge.h[name] = torch.tensor(0.1)
    with pytest.raises(ConfigError, match=rf"'implicit' cannot differentiate by {name}.*unroll"):
        ridge.gradient(1, "implicit")


def test_implicit_needs_the_inner_loss():
    def bare(state, batch, h):
        return state

    with pytest.raises(TypeError, match="has no `loss"):
        estimate(bare, at(1.0), [0], {"w": torch.tensor(1.0)}, lambda s: s.params[0].sum(), "keep", "implicit")


def test_unknown_names_are_told_with_the_nearest():
    ridge = Ridge()
    with pytest.raises(ConfigError, match=r"hypergrad\.estimator: unknown name 'unrol'.*'unroll'"):
        ridge.gradient(1, "unrol")
    with pytest.raises(ConfigError, match=r"hypergrad\.storage: unknown name 'replai'.*'replay'"):
        ridge.gradient(1, storage="replai")
    with pytest.raises(ConfigError, match=r"hypergrad\.storage: unknown name 'replay'; allowed: auto, keep"):
        ridge.gradient(1, "forward", "replay")
