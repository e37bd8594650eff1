"""Forward mode against the reverse sweep, for each hyperparameter and along one direction of all."""

from __future__ import annotations

import weakref

import pytest
import torch

from metaft.config.schema import StorageConfig
from metaft.inner import forward
from metaft.inner.forward import Forward, along
from metaft.inner.loop import Loop
from metaft.inner.state import Tree
from metaft.inner.unroll import Unroll
from tests.inner.problems import problem, tiny
from tests.inner.twin import twin_hypergradient

FEW = ("flyp", "l1init", "l2init@block.0.attn", "lr@head", "wd")
CASES = [("vit", True), ("vit", False), ("resnet", False)]


@pytest.mark.parametrize(
    ("tower", "by_group", "chosen"),
    [("vit", True, FEW), *(pytest.param(*case, None, marks=pytest.mark.full) for case in CASES)],
)
def test_agrees_with_a_twin_by_each_hyperparameter(tower, by_group, chosen):
    """Against torch.func, to 1e-9, with all terms active; chosen ones, as each has its price, or all."""
    case = problem(tower, by_group=by_group)
    twin, value = twin_hypergradient(tiny(tower), case.batches, case.last, case.h)
    names = chosen or tuple(case.h)
    rest = {name: x for name, x in case.h.items() if name not in names}
    other, gradient = Forward()(case.loop(step=_Fixed(case.step, rest), h={name: case.h[name] for name in names}))
    assert float(other) == pytest.approx(float(value), rel=1e-12)
    for name in names:
        assert float(gradient[name]) == pytest.approx(float(twin[name]), rel=1e-9), name


@pytest.mark.parametrize(("tower", "accumulate"), [("vit", 1), ("vit", 2), ("resnet", 1)])
def test_a_slope_is_that_of_the_reverse_sweep(tower, accumulate):
    """Along one direction in all hyperparameters at once, of which each has a share."""
    case = problem(tower, accumulate=accumulate)
    value, gradient = Unroll(StorageConfig(storage="keep"))(case.loop())
    direction = {name: k / gradient[name] for k, name in enumerate(case.h, 1)}
    other, (slope, nothing) = along(case.loop(), [direction, {}])
    assert float(other) == pytest.approx(float(value), rel=1e-12)
    assert float(slope) == pytest.approx(sum(range(len(case.h) + 1)), rel=1e-9)
    assert float(nothing) == 0


def test_an_old_tangent_is_let_go_as_the_new_one_is_there(monkeypatch):
    case, ends, alive = problem("vit"), [], []
    pushed = forward._pushed

    def watched(*args):
        end, tangent = pushed(*args)
        ends.append([weakref.ref(x) for x in (end.params[0], tangent.params[0])])
        alive.append(sum(ref() is not None for refs in ends for ref in refs))
        return end, tangent

    monkeypatch.setattr(forward, "_pushed", watched)
    Forward()(case.loop())
    assert max(alive) <= len(case.h) + 5, "tangents, one more as it is replaced; a step's start, end, and two more ends"


class _Fixed:
    """A step with some of its hyperparameters given."""

    def __init__(self, step, given) -> None:
        self._step, self._given = step, given

    def __call__(self, state, batch, h):
        return self._step(state, batch, {**self._given, **h})

    def dual(self, state, batch, h):
        return self._step.dual(state, batch, {**self._given, **h})


def test_cost_counts_every_entry():
    loop = Loop(lambda state, batch, h: state, Tree.of({}), range(4), {"a": torch.ones(2, 3), "b": torch.ones(())}, sum)
    assert Forward().cost(loop) == 2 * 7 * 4
