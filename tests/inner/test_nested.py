"""Steps of one's own: what they draw, and what is refused as no derivative would be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from metaft import Forward, Implicit, Truncated, Unroll, differentiate
from metaft.config.schema import StorageConfig
from metaft.errors import ConfigError

STEPS = 5
BATCHES = [0.5, -1.0, 2.0, 0.3, 1.1]


def real(*x: float) -> torch.Tensor:
    return torch.tensor(x if len(x) > 1 else x[0], dtype=torch.float64)


def start() -> torch.Tensor:
    return torch.linspace(-1, 1, 6, dtype=torch.float64)


def rate(x: float = 0.2) -> dict[str, torch.Tensor]:
    return {"rate": real(x)}


def dropped(x, target, h):
    """A step of gradient descent on what dropout leaves."""
    return x - h["rate"] * torch.nn.functional.dropout(x - target, 0.5)


def squares(x):
    return (x - 1).square().sum()


def trained(h, step=dropped):
    """The outer loss of plain training from the same seed, and the next number that is drawn."""
    torch.manual_seed(3)
    x = start()
    for batch in BATCHES:
        x = step(x, batch, h)
    return float(squares(x)), float(torch.rand(()))


WAYS = {
    "auto": "auto",
    "unroll": "unroll",
    "keep": Unroll(StorageConfig(storage="keep")),
    "replay": Unroll(StorageConfig(storage="replay")),
    "segments": Unroll(StorageConfig(storage="segments")),
    "truncated": Truncated(STEPS, StorageConfig(storage="replay")),
    "forward": Forward(),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_drawn_is_drawn_alike_in_every_pass(name):
    """The derivative is that of the run with the same seed, and generators end where plain training leaves them."""
    (above, _), (below, _) = trained(rate(0.2 + 1e-6)), trained(rate(0.2 - 1e-6))
    expected, following = trained(rate())
    torch.manual_seed(3)
    value, slopes = differentiate(dropped, start(), BATCHES, rate(), squares, WAYS[name])
    assert float(value) == pytest.approx(expected, rel=1e-13)
    assert float(slopes["rate"]) == pytest.approx((above - below) / 2e-6, rel=1e-7)
    assert float(torch.rand(())) == following


class Noisy(Sequence):
    """Batches that are drawn as they are loaded."""

    def __len__(self):
        return STEPS

    def __getitem__(self, number):
        return torch.rand(6, dtype=torch.float64)


def spread(x, batch, h):
    return x - h["rate"] * batch * x


@pytest.mark.parametrize("name", WAYS)
def test_batches_that_are_drawn_are_drawn_alike(name):
    def value(h):
        torch.manual_seed(3)
        x = start()
        for _ in range(STEPS):
            x = spread(x, Noisy()[0], h)
        return float(squares(x))

    torch.manual_seed(3)
    found, slopes = differentiate(spread, start(), Noisy(), rate(), squares, WAYS[name])
    assert float(found) == pytest.approx(value(rate()), rel=1e-13)
    assert float(slopes["rate"]) == pytest.approx((value(rate(0.2 + 1e-6)) - value(rate(0.2 - 1e-6))) / 2e-6, rel=1e-7)


@pytest.mark.parametrize("name", ["unroll", "keep"])
def test_an_outer_loss_draws_what_it_draws_after_plain_training(name):
    """What is measured before draws for nobody."""

    def judged(x):
        return squares(torch.nn.functional.dropout(x, 0.5))

    torch.manual_seed(3)
    x = start()
    for batch in BATCHES:
        x = dropped(x, batch, rate())
    expected = float(judged(x))
    torch.manual_seed(3)
    value, _ = differentiate(dropped, start(), BATCHES, rate(), judged, WAYS[name])
    assert float(value) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", ["unroll", "replay", "segments", "forward"])
def test_a_step_that_draws_elsewhere_is_refused(name):
    generator = np.random.default_rng(0)
    h = {**rate(), "more": real(0.1)}

    def step(x, target, h):
        return x - h["rate"] * torch.from_numpy(generator.random(6)) * x - h["more"] * x

    with pytest.raises(
        ConfigError, match=r"step: another state as it is run again, .*; allowed: the same; it may draw"
    ):
        differentiate(step, start(), BATCHES, h, squares, WAYS[name])


def test_batches_are_loaded_as_they_are_asked_for():
    class Loaded(list):
        asked: list[int]

        def __getitem__(self, number):
            self.asked.append(number)
            return super().__getitem__(number)

    batches = Loaded(BATCHES)
    batches.asked = []
    differentiate(dropped, start(), batches, rate(), squares, Unroll(StorageConfig(storage="keep")))
    assert batches.asked == list(range(STEPS))


@dataclass
class Moments:
    x: object
    name: str = "adam"


class Holder:
    """Neither a dataclass nor a container."""

    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class TestStates:
    @pytest.mark.parametrize(
        ("odd", "words"),
        [
            (torch.zeros(2, dtype=torch.complex64), "a tensor of complex64"),
            (torch.nn.Linear(2, 2), "a Linear"),
            (torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1), "a SGD"),
            (Moments(torch.zeros(2)), "a Moments"),
            (Moments([{"x": torch.zeros(2)}]), "a Moments"),
            (Holder(torch.zeros(2)), "a Holder"),
            (np.zeros(2), "an array of float64"),
        ],
    )
    def test_contents_that_would_count_as_constants(self, odd, words):
        with pytest.raises(ConfigError, match=f"state: {words}, which would count as a constant; allowed: floating"):
            differentiate(lambda s, *_: s, {"x": start(), "odd": odd}, [0], rate(), lambda s: squares(s["x"]))

    def test_contents_that_come_later(self):
        def step(s, target, h):
            return {"x": s["x"] - h["rate"] * (s["x"] - target), "odd": Moments(s["x"])}

        with pytest.raises(ConfigError, match="state: a Moments, which would count as a constant"):
            differentiate(step, {"x": start(), "odd": None}, BATCHES, rate(), lambda s: squares(s["x"]))

    def test_a_tensor_in_two_places_is_one(self):
        def step(s, target, h):
            moved = s["a"] - h["rate"] * (s["b"] - target)
            return {"a": moved, "b": moved}

        x = start()
        _, slopes = differentiate(step, {"a": x, "b": x}, BATCHES, rate(), lambda s: squares(s["a"] * s["b"]))
        _, expected = differentiate(
            lambda x, t, h: x - h["rate"] * (x - t), x, BATCHES, rate(), lambda x: squares(x * x)
        )
        assert float(slopes["rate"]) == pytest.approx(float(expected["rate"]), rel=1e-12)

    def test_what_is_expanded_or_sparse(self):
        eye, x = torch.eye(6, dtype=torch.float64).to_sparse(), real(0.5).expand(6, 1)

        def step(x, target, h):
            return x - h["rate"] * torch.sparse.mm(eye, x - target)

        h = {"rate": real(0.2).expand(6, 1)}
        _, slopes = differentiate(step, x, BATCHES, h, squares)
        dense = differentiate(lambda x, t, h: x - h["rate"] * (x - t), x, BATCHES, h, squares, "forward")[1]
        torch.testing.assert_close(slopes["rate"], dense["rate"], rtol=1e-12, atol=0)

    def test_what_is_no_number_is_kept(self):
        state = {"x": start(), "seen": torch.tensor(3), "name": "a", "none": None, "what": Moments, "how": trained}
        state |= {"rows": np.arange(3), "few": {1, 2}, "empty": Moments(7)}

        def step(s, target, h):
            return {**s, "x": s["x"] - h["rate"] * (s["x"] - target), "seen": s["seen"] + 1}

        _, slopes = differentiate(step, state, [0.5], rate(), lambda s: squares(s["x"]))
        assert float(slopes["rate"]) != 0

    def test_no_hyperparameters_in_a_tensor_of_them(self):
        h = {**rate(), "none": torch.zeros(0, dtype=torch.float64)}
        for way in ("unroll", "forward"):
            _, slopes = differentiate(lambda x, t, h: x - h["rate"] * (x - t), start(), [0.5], h, squares, way)
            assert slopes["none"].shape == (0,)
        few = {"none": torch.zeros(0, dtype=torch.float64)}
        _, slopes = differentiate(lambda x, t, h: 0.9 * x + h["none"].sum(), start(), [0.5], few, squares, "forward")
        assert slopes["none"].shape == (0,)


def by_hand(x, target, h):
    with torch.no_grad():
        x.sub_(0.1 * (x - target))
    return x


def in_graph(x, target, h):
    x -= h["rate"] * (x - target)
    return x


def on_h(x, target, h):
    with torch.no_grad():
        h["rate"].mul_(0.5)
    return x - h["rate"] * (x - target)


def on_batch(x, batch, h):
    batch.mul_(0.5)
    return x - h["rate"] * (x - batch)


def by_data(x, target, h):
    x.data.sub_((h["rate"] * (x - target)).detach())
    return x


@pytest.mark.parametrize("step", [by_hand, in_graph, on_h, on_batch, by_data])
@pytest.mark.parametrize("way", ["unroll", "truncated", "forward"])
def test_a_step_that_changes_what_it_is_given(step, way):
    with pytest.raises(ConfigError, match="step: a step that changes in place what it is given; allowed: one that"):
        differentiate(step, begun := start(), [real(x) for x in BATCHES], rate(), squares, way)
    assert begun.equal(start())


def test_a_mapping_of_hyperparameters_is_the_steps_own():
    def step(x, target, h):
        h["rate"] = h["rate"] * 0.5
        return x - h["rate"] * (x - target)

    h = rate()
    slopes = {
        name: float(differentiate(step, start(), BATCHES, h, squares, way)[1]["rate"]) for name, way in WAYS.items()
    }
    assert h == rate()
    assert all(slope == pytest.approx(slopes["keep"], rel=1e-12) for slope in slopes.values())


@pytest.mark.parametrize("way", ["unroll", "replay"])
def test_a_hyperparameter_that_no_graph_leads_to_is_told_of(way, capsys):
    """As where `create_graph` was forgotten, or h is another than the one that was given."""
    outside = {**rate(), "pull": real(0.3)}

    def step(x, target, h):
        x = x.detach().requires_grad_() if not x.requires_grad else x
        (slope,) = torch.autograd.grad(((x - target) ** 2).sum() + h["pull"] * (x**2).sum(), x)
        return x - h["rate"] * slope

    differentiate(step, start(), BATCHES, outside, squares, WAYS[way])
    assert capsys.readouterr().err.count("no graph of a step leads to pull, whose derivative is 0, true or not") == 1
    differentiate(dropped, start(), BATCHES, rate(), squares, WAYS[way])
    differentiate(dropped, start(), BATCHES, rate(), squares, "forward")
    assert "no graph" not in capsys.readouterr().err


@pytest.mark.parametrize(("step", "outer", "words"), [(None, squares, "step: None"), (dropped, 3, "outer: 3")])
def test_what_is_no_function(step, outer, words):
    with pytest.raises(ConfigError, match=f"{words}; allowed: a function"):
        differentiate(step, start(), BATCHES, rate(), outer)


def test_a_function_without_a_second_derivative():
    def step(s, x, h):
        mean, var = s["mean"].clone(), s["var"].clone()
        out = torch.nn.functional.batch_norm(x * s["w"], mean, var, training=True)
        return {"w": s["w"] - h["rate"] * out.mean(0), "mean": mean, "var": var}

    state = {name: torch.ones(6, dtype=torch.float64) for name in ("w", "mean", "var")}
    images = torch.rand(4, 6, dtype=torch.float64)
    with pytest.raises(ConfigError, match=r"step: .*not differentiable with respect to.*; allowed: functions of which"):
        differentiate(step, state, [images], rate(), lambda s: squares(s["w"] * s["mean"]))


def test_an_error_of_the_step_itself_is_its_own():
    def wrong(x, target, h):
        raise RuntimeError("no such batch")

    with pytest.raises(RuntimeError, match="no such batch"):
        differentiate(wrong, start(), [0], rate(), squares)


class TestOuterLosses:
    def test_one_that_hangs_on_something_else_alone(self):
        other = torch.ones((), requires_grad=True)
        with pytest.raises(ConfigError, match="outer: a loss that does not depend on the state"):
            differentiate(dropped, start(), [0], rate(), lambda x: other.square())

    def test_one_that_changes_the_state(self):
        def doubled(x):
            with torch.no_grad():
                x.mul_(2)
            return squares(x)

        for outer in (doubled, lambda x: squares(x.mul_(2))):
            with pytest.raises(ConfigError, match="outer: a loss that changes in place what it is given; allowed: one"):
                differentiate(dropped, start(), [0], rate(), outer)

    @pytest.mark.parametrize("kind", ["plain", "leaf", "computed"])
    def test_one_that_h_itself_is_used_in(self, kind):
        h = {
            "plain": rate,
            "leaf": lambda: {"rate": real(0.2).requires_grad_()},
            "computed": lambda: {"rate": real(0.1).requires_grad_() * 2},
        }[kind]()
        before = h["rate"].requires_grad
        words = r"outer: a loss that h itself is used in, .* allowed: a loss of the final"
        with pytest.raises(ConfigError, match=words):
            differentiate(dropped, start(), [0], h, lambda x: squares(x) + h["rate"])
        _, slopes = differentiate(dropped, start(), [0], h, lambda x: squares(x) + h["rate"].detach())
        assert float(slopes["rate"]) != 0
        assert h["rate"].requires_grad is before

    def test_one_that_the_sibling_of_h_is_used_in(self):
        rates, other = real(0.2, 0.3).requires_grad_().unbind()
        _, slopes = differentiate(dropped, start(), [0], {"rate": rates}, lambda x: squares(x) + other)
        assert float(slopes["rate"]) != 0


class Shown:
    """A step with an inner loss."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, x, target, h):
        return x - h["rate"] * (x - target)


class TestInnerLosses:
    @pytest.mark.parametrize(
        ("loss", "words"),
        [
            (lambda x, t, h: h["rate"] * x, r"loss: a tensor of shape \[6\]; allowed: a tensor of shape \[\]"),
            (lambda x, t, h: 1.0, r"loss: 1\.0; allowed: a tensor of shape"),
            (lambda x, t, h: (h["rate"] * x).sum().detach(), "loss: a loss that does not depend on the state"),
            (lambda x, t, h: h["rate"] * x.sum(), "'implicit', for an inner loss that is linear in the state"),
            (lambda x, t, h: x.sum(), "'implicit', for an inner loss that is linear in the state"),
        ],
    )
    def test_those_without_a_stationary_point(self, loss, words):
        with pytest.raises(ConfigError, match=words):
            differentiate(Shown(loss), start(), [0], rate(), squares, Implicit())

    def test_a_damped_one_may_be_linear(self):
        """d/dh = - <d grad / d h, v> with v = d outer / damping."""
        shown = Shown(lambda x, t, h: h["rate"] * x.sum())
        _, slopes = differentiate(shown, start(), [0], rate(), squares, Implicit(damping=2.0))
        end = start() - 0.2 * start()
        assert float(slopes["rate"]) == pytest.approx(float(-(2 * (end - 1) / 2).sum()))

    def test_the_state_is_the_last_one(self):
        """In its own order, with all that it has by then."""

        class Descent:
            def loss(self, s, target, h):
                a, b = s["a"] - h["to"], s["b"] - 2
                return (1 + s["t"]) * a**2 + b**2 + 3 * a * b**2

            def __call__(self, s, target, h):
                return {"b": 0 * s["b"] + 2, "t": s["t"] + 1, "a": 0 * s["a"] + h["to"]}

        state = {"a": real(0.0), "b": real(0.0), "t": 0}
        _, slopes = differentiate(
            Descent(), state, [0, 0], {"to": real(1.0)}, lambda s: s["a"] * s["b"] + s["t"], Implicit()
        )
        assert float(slopes["to"]) == pytest.approx(2.0)

    def test_one_that_is_not_convex(self, capsys):
        shown = Shown(lambda x, t, h: -((x - h["rate"]) ** 2).sum())
        _, slopes = differentiate(shown, start(), [0], rate(), squares, Implicit())
        assert slopes["rate"].isnan()
        assert "implicit: the inner loss is not convex where it ends" in capsys.readouterr().err

    def test_a_solver_without_a_graph(self):
        """The end alone counts, whatever way led there, and whether or not h is followed."""

        class Solved(Shown):
            def __call__(self, x, target, h):
                with torch.no_grad():
                    return target / (1 + h["rate"]) * torch.ones_like(x)

        shown = Solved(lambda x, t, h: ((x - t) ** 2).sum() + h["rate"] * (x**2).sum())
        for h in (rate(), {"rate": real(0.2).requires_grad_()}):
            _, slopes = differentiate(shown, start(), [0.5], h, lambda x: x.sum(), Implicit())
            assert float(slopes["rate"]) == pytest.approx(-6 * 0.5 / 1.2**2)

    def test_what_the_loss_does_not_see_has_no_part_in_it(self, capsys):
        """An outer loss of that alone has the derivative 0."""
        shown = Shown(lambda s, t, h: ((s["a"] - h["rate"]) ** 2).sum() + 0 * s["b"].sum())
        shown.__class__ = type(
            "Still", (Shown,), {"__call__": lambda self, s, t, h: {**s, "a": s["a"] * 0 + h["rate"]}}
        )
        state = {"a": start(), "b": start()}
        _, slopes = differentiate(shown, state, [0], rate(), lambda s: squares(s["b"]), Implicit())
        assert float(slopes["rate"]) == 0
        assert "convex" not in capsys.readouterr().err
