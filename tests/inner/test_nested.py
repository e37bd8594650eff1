"""Steps of one's own: what they draw, and what is refused as no derivative would be true."""

from __future__ import annotations

from dataclasses import dataclass

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
    x: torch.Tensor
    name: str = "adam"


class TestStates:
    @pytest.mark.parametrize(
        ("odd", "words"),
        [
            (torch.zeros(2, dtype=torch.complex64), "a tensor of complex64"),
            (torch.nn.Linear(2, 2), "a Linear"),
            (torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1), "a SGD"),
            (Moments(torch.zeros(2)), "a Moments"),
        ],
    )
    def test_contents_that_would_count_as_constants(self, odd, words):
        with pytest.raises(ConfigError, match=f"state: {words}, which would count as a constant; allowed: floating"):
            differentiate(lambda s, *_: s, {"x": start(), "odd": odd}, [0], rate(), lambda s: squares(s["x"]))

    def test_what_is_no_number_is_kept(self):
        state = {"x": start(), "seen": torch.tensor(3), "name": "a", "none": None, "what": Moments, "how": trained}

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


@pytest.mark.parametrize("step", [by_hand, in_graph, on_h])
@pytest.mark.parametrize("way", ["unroll", "truncated", "forward"])
def test_a_step_that_changes_what_it_is_given(step, way):
    with pytest.raises(ConfigError, match="step: a step that changes in place what it is given; allowed: one that"):
        differentiate(step, start(), BATCHES, rate(), squares, way)


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

    @pytest.mark.parametrize("leaf", [True, False])
    def test_one_that_h_itself_is_used_in(self, leaf):
        h = {"rate": real(0.2).requires_grad_()} if leaf else {"rate": real(0.1).requires_grad_() * 2}
        words = r"outer: a loss that h itself is used in, .* allowed: a loss of the final"
        with pytest.raises(ConfigError, match=words):
            differentiate(dropped, start(), [0], h, lambda x: squares(x) + h["rate"])
        _, slopes = differentiate(dropped, start(), [0], h, lambda x: squares(x) + h["rate"].detach())
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
