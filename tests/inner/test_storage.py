"""What a storage keeps: plans, their cost, the bytes of a graph, budgets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from metaft.config.schema import StorageConfig
from metaft.inner.loop import Footprint, Loop
from metaft.inner.state import InnerState
from metaft.inner.storage import GIB, Plan, footprint_of, free_memory, graph_bytes, largest, plan_for, planned

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
        assert chosen.span < steps or chosen.peak(FOOTPRINT, steps) <= budget
        if chosen.span == steps and chosen.graphs < steps:
            assert Plan(chosen.graphs + 1, steps).peak(FOOTPRINT, steps) > budget
    assert plan("auto", steps, 0) == Plan(0, 3)
    assert plan("auto", steps, None) == Plan(steps, steps)


def test_peak_grows_with_the_root_of_the_steps_in_segments_alone():
    def growth(storage: str) -> float:
        few, many = (plan(storage, t).peak(FOOTPRINT, t) for t in (100, 400))
        return (many - Plan(0, 1).peak(FOOTPRINT, 1)) / (few - Plan(0, 1).peak(FOOTPRINT, 1))

    assert growth("segments") == pytest.approx(2, rel=0.1)
    assert growth("replay") == pytest.approx(4, rel=0.1)
    assert growth("keep") == pytest.approx(4, rel=0.1)
    hosted = (Plan(0, t, host=True).peak(FOOTPRINT, t) for t in (100, 400))
    assert len(set(hosted)) == 1


def test_what_comes_and_goes_with_a_step_is_counted():
    """Adjoints wait within the sweep and not at its beginning; gradients only where they wait for it."""
    whole = Footprint(state=30, graph=7, outer=1, seen=10, params=10)
    assert Plan(0, 4).peak(whole, 4) == 4 * 10 + (2 + 1) * 30 + 3 * 30 + 7 + 5
    assert Plan(0, 5).peak(whole, 5) == 5 * 10 + 3 * 30 + 3 * 30 + 7 + 5, "the last state waits"
    assert Plan(4, 4).peak(whole, 4) == 4 * 40 + 3 * 30 + 4 * 7 + 5
    assert Plan(2, 4).peak(whole, 4) == 4 * 10 + (2 + 1) * 30 + 3 * 30 + 2 * 7 + 5
    assert Plan(0, 4).peak(replace(whole, part=50), 4) == 4 * 10 + (2 + 1) * 30 + 2 * 30 + 10 + 50 + 7
    assert Plan(0, 4).peak(replace(whole, part=50, seen=0), 4) == 4 * 30 + 3 * 30 + 50 + 7 + 5
    assert Plan(0, 2).peak(whole, 4) == 2 * 10 + (1 + 1) * 30 + 30 + 3 * 30 + 7 + 5
    assert Plan(0, 4).peak(replace(whole, outer=500), 4) == 4 * 10 + 2 * 30 + 2 * 30 + 500, "before any is made again"
    late = Footprint(state=30, graph=7, outer=500, params=10)
    assert Plan(0, 4).peak(late, 4) == 4 * 30 + 2 * 30 + 500, "the outer loss's graph is gone by then"


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


def loop(footprint: Footprint | None = None) -> Loop:
    """Five steps of a state of 1000 numbers of 4 bytes; sin keeps its argument, exp its result."""

    def step(state: InnerState, batch: int, h) -> InnerState:
        return state.map(lambda p: p.exp().sin() * h["w"])

    state = InnerState((torch.zeros(1000),), (), (), 0)
    return Loop(step, state, range(5), {"w": torch.tensor(1.0)}, lambda end: end.params[0].exp().sin().sum(), footprint)


def test_ranks_plan_by_the_largest_of_each():
    assert largest([Footprint(3, 10, 4, 1), Footprint(3, 8, 5)]) == Footprint(3, 10, 5, 1)


def test_a_loops_footprint_is_measured_once_unless_it_is_known():
    assert footprint_of(loop()) == Footprint(state=4000, graph=8000, outer=4000, params=4000)
    assert footprint_of(loop(FOOTPRINT)) is FOOTPRINT


@pytest.mark.parametrize(
    ("storage", "expected"), [("keep", Plan(5, 5)), ("replay", Plan(0, 5)), ("segments", Plan(0, 3))]
)
def test_a_storage_without_a_budget_has_its_plan(storage, expected):
    assert planned(loop(FOOTPRINT), StorageConfig(storage=storage)) == expected
    hosted = planned(loop(FOOTPRINT), StorageConfig(storage=storage, offload=True))
    assert hosted == expected, "where states are in main memory anyway, none is moved"


def test_a_budget_is_in_gib():
    """A footprint of gigabytes, and as many of them as two of five graphs need, or one byte less."""
    large = Footprint(state=GIB, graph=2 * GIB, outer=0)
    room = Plan(2, 5).peak(large, 5) / GIB
    assert room == (5 + 3) + 2 * 2
    chosen = [planned(loop(large), StorageConfig(memory=memory)).graphs for memory in (room, room - 1e-9)]
    assert chosen == [2, 1]
    assert planned(loop(), StorageConfig()) == Plan(5, 5), "all, where there is room"
