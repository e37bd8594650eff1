"""What a storage keeps: plans, their cost, the bytes of a graph, budgets."""

from __future__ import annotations

import math

import pytest
import torch

from metaft.inner.storage import Footprint, Plan, free_memory, graph_bytes, plan_for

FOOTPRINT = Footprint(state=3, graph=10, outer=4)


def plan(storage: str, steps: int, budget: float | None = None) -> Plan:
    return plan_for(storage, steps, lambda: FOOTPRINT, budget, host=False)


@pytest.mark.parametrize(("steps", "span"), [(1, 1), (2, 2), (9, 3), (10, 4), (200, 15)])
def test_segments_are_as_long_as_the_square_root(steps, span):
    assert plan("segments", steps) == Plan(0, span)
    assert plan("keep", steps) == Plan(steps, steps)
    assert plan("replay", steps) == Plan(0, steps)


def test_auto_keeps_as_many_graphs_as_the_budget_holds():
    steps = 8
    kept = [plan("auto", steps, budget).graphs for budget in range(200)]
    assert kept == sorted(kept)
    assert kept[-1] == steps
    assert set(kept) >= set(range(1, steps + 1))
    for budget in range(200):
        chosen = plan("auto", steps, budget)
        assert chosen.span < steps or FOOTPRINT.peak(chosen, steps) <= budget
        if chosen.span == steps and chosen.graphs < steps:
            assert FOOTPRINT.peak(Plan(chosen.graphs + 1, steps), steps) > budget
    assert plan("auto", steps, 0) == Plan(0, 3)
    assert plan("auto", steps, None) == Plan(steps, steps)


def test_peak_grows_with_the_root_of_the_steps_in_segments_alone():
    def growth(storage: str) -> float:
        few, many = (FOOTPRINT.peak(plan(storage, t), t) for t in (100, 400))
        return (many - FOOTPRINT.peak(Plan(0, 1), 1)) / (few - FOOTPRINT.peak(Plan(0, 1), 1))

    assert growth("segments") == pytest.approx(2, rel=0.1)
    assert growth("replay") == pytest.approx(4, rel=0.1)
    assert growth("keep") == pytest.approx(4, rel=0.1)
    hosted = (FOOTPRINT.peak(Plan(0, t, host=True), t) for t in (100, 400))
    assert len(set(hosted)) == 1


@pytest.mark.parametrize(("chosen", "cost"), [(Plan(9, 9), 27), (Plan(0, 9), 36), (Plan(4, 9), 32), (Plan(0, 3), 42)])
def test_cost_in_step_equivalents(chosen, cost):
    assert chosen.cost(9) == cost


def test_bytes_of_a_graph():
    """exp keeps its result, sin its argument: of a chain of two, one new tensor and the leaf."""
    x = torch.zeros(1000, requires_grad=True)

    def build():
        return x.exp().sin().sum(), None

    assert graph_bytes(build) == 4000
    assert graph_bytes(lambda: ((2 * x).sum(), None)) == 0

    def shown():
        y = x.exp()
        return y.sin().sum(), y

    assert graph_bytes(shown) == 0


def test_free_memory_is_a_number():
    assert 0 < free_memory(torch.device("cpu")) <= math.inf
