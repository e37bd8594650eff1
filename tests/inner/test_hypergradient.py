"""The hypergradient of any loop: closed forms by every exact route, nested states beside finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from metaft.config.schema import StorageConfig
from metaft.errors import ConfigError
from metaft.inner import Forward, Implicit, InnerState, Truncated, Unroll, differentiate, estimate
from metaft.inner.adamw import FLOOR, Constants, adamw
from metaft.inner.solvers import ConjugateGradients
from tests.inner.ridge import RATE, D, Ridge

EXACT = [("unroll", "keep"), ("unroll", "replay"), ("unroll", "segments"), ("unroll", "auto"), ("forward", "keep")]


def real(*values: float) -> torch.Tensor:
    return torch.tensor(values if len(values) != 1 else values[0], dtype=torch.float64)


def at(value: float) -> InnerState:
    return InnerState((torch.tensor([value], dtype=torch.float64),), (), (), 0)


@pytest.mark.parametrize(("estimator", "storage"), EXACT)
def test_ridge_unrolled_to_convergence_is_exact(estimator, storage):
    ridge = Ridge()
    zero = torch.zeros(D, dtype=torch.float64)
    assert ridge.gradient(300, estimator, storage, start=zero) == pytest.approx(ridge.exact, rel=1e-10)
    assert ridge.gradient(3, estimator, storage, start=zero) != pytest.approx(ridge.exact, rel=1e-2)


def test_one_step_is_truncation_after_one():
    ridge = Ridge()
    assert ridge.gradient(12, "one_step") == ridge.gradient(12, "truncated", last=1)
    w = ridge.optimum
    assert ridge.gradient(12, "one_step") == pytest.approx(-RATE * float((w - ridge.target) @ w), rel=1e-12)


@pytest.mark.parametrize(("estimator", "storage"), EXACT)
def test_decayed_descent_on_a_quadratic(estimator, storage):
    """p_T = (1 - lr (a + wd))^T p_0; the outer loss p_T^2 / 2 has its derivatives by hand."""
    p0, a, steps = 2.0, 0.7, 7
    h = {"lr": real(0.1), "wd": real(0.3)}

    def step(state, batch, h):
        (p,) = state.params
        return replace(state, params=((1 - h["lr"] * h["wd"]) * p - h["lr"] * a * p,))

    value, slopes = estimate(
        step, at(p0), range(steps), h, lambda s: s.params[0].square().sum() / 2, storage, estimator
    )
    shrink = 1 - 0.1 * (a + 0.3)
    common = p0**2 * steps * shrink ** (2 * steps - 1)
    assert float(value) == pytest.approx(p0**2 * shrink ** (2 * steps) / 2, rel=1e-13)
    assert float(slopes["lr"]) == pytest.approx(-common * (a + 0.3), rel=1e-12)
    assert float(slopes["wd"]) == pytest.approx(-common * 0.1, rel=1e-12)


@pytest.mark.parametrize(("estimator", "storage"), EXACT)
def test_two_steps_of_adamw_on_a_quadratic(estimator, storage):
    """AdamW by hand on w p^2 / 2, whose first step is p - lr (wd p + g / (|g| + eps)), g = w p."""
    p0, b1, b2, eps = 1.5, 0.8, 0.9, 1e-2
    numbers = {"w": 0.6, "lr": 0.1, "wd": 0.3}
    h = {name: torch.tensor(x, dtype=torch.float64) for name, x in numbers.items()}

    def step(state, batch, h):
        grads, constants = [h["w"] * p for p in state.params], Constants(b1, b2, eps, state.step + 1)
        parts = adamw(state.params, grads, state.exp_avg, state.exp_avg_sq, h["lr"], h["wd"], constants)
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
    value, slopes = estimate(step, state, range(2), h, lambda s: s.params[0].square().sum() / 2, storage, estimator)
    assert float(value) == pytest.approx(by_hand(**numbers), rel=1e-13)
    for name, x in numbers.items():
        high, low = (by_hand(**{**numbers, name: x * (1 + d)}) for d in (1e-6, -1e-6))
        assert float(slopes[name]) == pytest.approx((high - low) / (2e-6 * x), rel=1e-6)


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match=r"inner\.steps: 0 steps; allowed: at least 1"):
        Ridge().gradient(0)


class Momentum:
    """Heavy-ball descent of |A w + b - y|^2 / 2 + |penalty w|^2 / 2; the state nests, a count and a word beside it."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(3)
        self.ends = []  # steps taken, of each state that was judged
        self.inputs = torch.randn(4, 3, generator=g, dtype=torch.float64)
        self.batches = [torch.randn(4, 2, generator=g, dtype=torch.float64) for _ in range(6)]
        self.target = torch.randn(3, 2, generator=g, dtype=torch.float64)
        self.h = {
            "rate": real(0.05, 0.08, 0.03)[:, None],
            "friction": real(0.6),
            "penalty": real(0.3, 0.5),
        }

    @property
    def start(self):
        net = {"w": torch.zeros(3, 2, dtype=torch.float64), "b": torch.zeros(2, dtype=torch.float64)}
        return {"net": net, "speed": (torch.zeros(3, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 0)}

    def __call__(self, state, batch, h):
        w, b = state["net"]["w"], state["net"]["b"]
        residual = self.inputs @ w + b - batch
        v, u, count = state["speed"]
        v = h["friction"] * v + self.inputs.T @ residual + h["penalty"] ** 2 * w
        u = h["friction"] * u + residual.sum(0)
        net = {"w": w - h["rate"] * v, "b": b - h["rate"].mean() * u}
        return {"net": net, "speed": (v, u, count + 1)}

    def outer(self, state):
        self.ends.append(state["speed"][2])
        return (state["net"]["w"] - self.target).square().sum() + state["net"]["b"].pow(4).sum()

    def value_at(self, h):
        state = self.start
        for batch in self.batches:
            state = self(state, batch, h)
        return float(self.outer(state))

    def differences(self, name, delta=1e-6):
        """Central differences by every entry."""
        x = self.h[name]
        slopes = []
        for row in torch.eye(x.numel(), dtype=x.dtype):
            high, low = (self.value_at({**self.h, name: x + sign * delta * row.view(x.shape)}) for sign in (1, -1))
            slopes.append((high - low) / (2 * delta))
        return torch.tensor(slopes, dtype=x.dtype).view(x.shape)


@pytest.mark.parametrize(
    "estimator",
    [
        "unroll",
        "forward",
        Unroll(),
        Unroll(StorageConfig(storage="segments")),
        Truncated(6),
        Truncated(99, StorageConfig(storage="replay")),
        Forward(),
    ],
    ids=str,
)
def test_nested_states_and_tensors_of_any_shape(estimator):
    case = Momentum()
    expected = case.value_at(case.h)
    value, slopes = differentiate(case, case.start, case.batches, case.h, case.outer, estimator)
    assert float(value) == pytest.approx(expected, rel=1e-13)
    assert not value.requires_grad
    assert case.ends[-1] == 6
    assert set(slopes) == set(case.h)
    for name, x in case.h.items():
        assert slopes[name].shape == x.shape
        torch.testing.assert_close(slopes[name], case.differences(name), rtol=1e-6, atol=1e-8)


def test_truncation_leaves_out_what_came_before():
    case = Momentum()
    state = case.start
    for batch in case.batches[:4]:
        state = case(state, batch, case.h)
    _, cut = differentiate(case, case.start, case.batches, case.h, case.outer, Truncated(2))
    _, tail = differentiate(case, state, case.batches[4:], case.h, case.outer)
    for name in case.h:
        torch.testing.assert_close(cut[name], tail[name], rtol=1e-12, atol=0)


class Quadratic:
    """Newton's step to the minimum of sum w_i (p_i - c_i)^2 / 2 + |p|^2 / 2, in one step; it has a loss."""

    def __init__(self) -> None:
        self.centre = real(1.0, -2.0, 0.5)
        self.h = {"w": real(0.5, 1.0, 2.0), "pull": real(0.7)}

    def loss(self, state, batch, h):
        p = state["p"]
        assert state["name"] is None
        return (h["w"] * (p - self.centre).square()).sum() / 2 + h["pull"] * p.square().sum() / 2

    def __call__(self, state, batch, h):
        return {**state, "p": h["w"] * self.centre / (h["w"] + h["pull"])}

    def outer(self, state):
        return (state["p"] - 1).square().sum()


def test_implicit_of_a_step_that_shows_its_loss():
    case = Quadratic()
    start = {"p": torch.zeros(3, dtype=torch.float64), "name": None}
    value, exact = differentiate(case, start, [0], case.h, case.outer)
    other, slopes = differentiate(case, start, [0], case.h, case.outer, Implicit(ConjugateGradients(3)))
    assert float(other) == float(value)
    for name, x in case.h.items():
        assert slopes[name].shape == x.shape
        torch.testing.assert_close(slopes[name], exact[name], rtol=1e-10, atol=1e-12)
    bare = case.__call__
    with pytest.raises(TypeError, match="has no `loss"):
        differentiate(bare, start, [0], case.h, case.outer, Implicit())


class TestFaults:
    def call(self, match, **changes):
        case = Momentum()
        given = {"batches": case.batches, "h": case.h, "estimator": "unroll", **changes}
        with pytest.raises(ConfigError, match=match) as caught:
            differentiate(case, case.start, given["batches"], given["h"], case.outer, given["estimator"])
        return caught.value.faults

    def test_an_estimator_of_another_name(self):
        self.call(r"estimator: unknown name 'unrolled'.*Did you mean 'unroll'\?", estimator="unrolled")

    def test_no_batches(self):
        self.call(r"inner.steps: 0 steps; allowed: at least 1", batches=[])
        self.call(r"inner.steps: 0 steps; allowed: at least 1", batches=iter(()))

    def test_nothing_in_h(self):
        self.call(r"h: nothing to differentiate by; allowed: tensors by name", h={})

    @pytest.mark.parametrize("odd", [torch.tensor(3), 0.1])
    def test_what_is_no_floating_point_tensor(self, odd):
        (fault,) = self.call(r"h\['rate'\]: .*; allowed: a floating-point tensor", h={"rate": odd})
        assert fault.found == repr(odd)

    @pytest.mark.parametrize("odd", [["unroll"], {}, Unroll])
    def test_what_is_no_estimator(self, odd):
        self.call(r"estimator: unknown name .*; allowed: auto, differences", estimator=odd)

    def test_what_holds_no_batches_or_hyperparameters(self):
        self.call(r"batches: a int; allowed: one for each step", batches=3)
        self.call(r"h: a list; allowed: tensors by name", h=[real(1.0)])

    @pytest.mark.parametrize("storage", ["replay", None, StorageConfig(storage="kept")])
    def test_a_storage_of_no_name(self, storage):
        self.call(r"storage: .*; allowed: a StorageConfig with keep, replay, auto, segments", estimator=Unroll(storage))

    @pytest.mark.parametrize("count", [0, -1, 2.5, "2", True])
    def test_the_last_steps_are_a_whole_number_from_1(self, count):
        with pytest.raises(ConfigError, match=f"last: {count!r}; allowed: a whole number from 1"):
            Truncated(count)

    def test_all_at_once(self):
        faults = self.call("3 problems", estimator="unrolled", batches=[], h={})
        assert [fault.field for fault in faults] == ["hypergrad.estimator", "inner.steps", "h"]


def descended_by_torch(x, target, h):
    """One step by torch.optim, whose result no graph leads to."""
    inner = x.detach().clone().requires_grad_()
    (inner - target).square().backward()
    torch.optim.SGD([inner], lr=h["rate"].item()).step()
    return inner


@pytest.mark.parametrize("estimator", ["unroll", "truncated", "one_step", "forward", "auto"])
def test_a_step_that_cuts_the_graph_is_refused(estimator):
    h = {"rate": real(0.25)}
    for cut in (descended_by_torch, lambda x, target, h: (x - h["rate"] * (x - target)).detach(), lambda x, *_: 1.0):
        with pytest.raises(ConfigError, match="step: a state that hangs on neither the one before nor h"):
            differentiate(cut, real(0.0), [1.0, 1.0], h, lambda x: x, estimator)
    for whole, expected in ((lambda x, target, h: x, 0.0), (lambda x, target, h: h["rate"], 1.0)):
        _, slopes = differentiate(whole, real(0.0), [1.0, 1.0], h, lambda x: x, estimator)
        assert float(slopes["rate"]) == expected


def test_inference_mode_is_left_for_a_derivative():
    h, x = {"rate": real(0.25)}, real(0.0)

    def descend(x, target, h):
        return x - h["rate"] * (x - target)

    with torch.inference_mode():
        _, slopes = differentiate(descend, x, [1.0], h, lambda x: x)
        made = {"rate": real(0.25)}
    assert float(slopes["rate"]) == 1.0
    with pytest.raises(ConfigError, match=r"state, h: tensors of torch\.inference_mode; allowed: those made outside"):
        differentiate(descend, x, [1.0], made, lambda x: x)


def test_what_cannot_be_differentiated_is_named():
    h, x = {"rate": real(0.25)}, real(0.0)

    def descend(x, target, h):
        return x - h["rate"] * (x - target)

    for state, outer, words in (
        ({"name": "a", "steps": 3}, lambda x: x, "state: no floating-point tensor; allowed: at least one"),
        (x, lambda x: real(1.0), "outer: a loss that does not depend on the state; allowed: one that does"),
        (x, lambda x: x.expand(3), r"outer: a tensor of shape \[3\]; allowed: a loss, a tensor of shape \[\]"),
        (x, lambda x: 1.0, r"outer: 1\.0; allowed: a loss"),
    ):
        with pytest.raises(ConfigError, match=words):
            differentiate(descend, state, [1.0], h, outer)
    half = InnerState((torch.zeros(2, dtype=torch.float16),), (), (), 0)
    with pytest.raises(ConfigError, match="state: float16, in which AdamW's moments are lost"):
        estimate(descend, half, [1.0], h, lambda end: end.params[0].sum())
    with torch.no_grad():
        value, slopes = differentiate(descend, x, [1.0, 1.0], h, lambda x: (x - 1) ** 2)
    assert (float(value), float(slopes["rate"])) == pytest.approx((0.75**4, -4 * 0.75**3))


def test_a_step_that_takes_its_gradient_by_torch_func():
    """Whose derivatives admit no hooks, by which graphs are measured."""
    h, start = {"rate": torch.tensor(0.1, dtype=torch.float64)}, torch.tensor([1.0, 2.0], dtype=torch.float64)

    def step(x, batch, h):
        return x - h["rate"] * torch.func.grad(lambda at: (at**2).sum())(x)

    value, found = differentiate(step, start, [None] * 3, h, lambda x: x.sum())
    assert float(value) == pytest.approx(3 * 0.8**3)
    assert float(found["rate"]) == pytest.approx(3 * 3 * 0.8**2 * -2)
