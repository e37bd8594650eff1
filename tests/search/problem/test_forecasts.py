"""What a hypergradient will take by every way, and what is done where it does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft import config, pipeline
from metaft.build.problem import problem_in
from metaft.errors import ConfigError
from metaft.inner.storage import GIB, Plan, footprint_of
from metaft.search.problem import forecasts
from metaft.search.problem.forecasts import WAYS
from metaft.search.problem.within import Cuts
from tests.conftest import SMALL, by_default

STEPS = 4


def settled(work, *words):
    return replace(work, cfg=config.load(None, [*SMALL, f"inner.steps={STEPS}", "search.mode=hypergrad", *words]))


def with_room(monkeypatch, room):
    monkeypatch.setattr(forecasts, "free_memory", lambda device: forecasts.SHARE * room)


@pytest.fixture(scope="module")
def ways(work):
    return problem_in(settled(work)).forecasts.ways()


DIVISIBLE = ("objective.terms=[kd, hinge, l2init]", "inner.batch_size=64", "search.outer_batch_size=8")


def test_each_way_takes_what_its_plan_says(work, ways):
    assert tuple(ways) == WAYS
    loop = problem_in(settled(work)).forecasts.loop
    graphs, gradients = footprint_of(loop), footprint_of(loop, graphs=False)
    assert ways["unroll", "keep"].bytes == Plan(STEPS, STEPS).peak(graphs, STEPS)
    assert ways["unroll", "replay"].bytes == Plan(0, STEPS).peak(graphs, STEPS)
    assert ways["differences", "segments"].bytes == Plan(0, 2).peak(gradients, STEPS)
    assert ways["unroll", "keep"].graphs == STEPS
    assert ways["unroll", "keep"].step_equivalents < ways["unroll", "segments"].step_equivalents


def test_forward_mode_takes_a_tangent_for_each_hyperparameter(work):
    problem = problem_in(settled(work, "hypergrad.estimator=forward"))
    graphs, count = footprint_of(problem.forecasts.loop), len(problem.space)
    assert problem.forecasts.of().bytes == (count + 6) * graphs.state + graphs.graph
    many = replace(problem.forecasts.loop, footprint=replace(graphs, outer=9 * graphs.state))
    problem.forecasts.loop, problem.forecasts._measured = many, {}
    assert problem.forecasts.of().bytes == (count + 2 + 9) * graphs.state  # tangents, the end, and its adjoint


PARTS = ("inner.batch_size=16", "inner.accumulate=4", "search.id_drop_max=0.01")


@pytest.mark.parametrize("words", by_default([()], [(), PARTS]))
def test_a_bill_is_what_was_forecast(work, words):
    problem = problem_in(settled(work, "objective.terms=[kd, hinge, l2init]", *words))
    problem.hypergradient(problem.start, seed=1)
    outcome, _ = problem.hypergradient(problem.start, seed=1)
    assert outcome.step_equivalents == pytest.approx(problem.forecast().step_equivalents)


def test_a_way_that_cannot_differentiate_is_left_out(work):
    """By heads and whole numbers none can; differences need a storage of states."""
    assert ("differences", "keep") not in problem_in(settled(work)).forecasts.ways()


def test_a_storage_that_does_not_fit_is_refused_with_those_that_do(work, ways, monkeypatch):
    keep, replay = (ways["unroll", kept].bytes for kept in ("keep", "replay"))
    with_room(monkeypatch, (keep + replay) / 2)
    with pytest.raises(ConfigError) as error:
        pipeline.prepared(settled(work, "hypergrad.storage=keep"))
    said = str(error.value)
    assert f"hypergrad.storage: 'keep', which takes {keep / GIB:.1f} GiB beside the model" in said
    assert f"allowed: replay with hypergrad.estimator=unroll ({replay / GIB:.1f} GiB), " in said
    assert "auto, which cuts batches" in said
    assert "keep with hypergrad.estimator" not in said
    pipeline.prepared(settled(work, "hypergrad.storage=replay"))


@pytest.mark.full
def test_auto_cuts_batches_first(work, monkeypatch, capsys):
    """As often as it takes, with the derivative of the whole batch."""
    whole = problem_in(settled(work, *DIVISIBLE))
    _, expected = whole.hypergradient(whole.start, seed=1)
    room = 0.75 * whole.forecasts.of(storage="segments").bytes
    with_room(monkeypatch, room / forecasts.SHARE)
    monkeypatch.setattr("metaft.inner.storage.free_memory", lambda device: room)
    problem = problem_in(settled(work, *DIVISIBLE))
    outcome, gradient = problem.hypergradient(problem.start, seed=1)
    assert outcome.status == "ok"
    assert problem.inner.parts > 1
    assert problem.forecasts.of().bytes <= room
    said = "search: a hypergradient does not fit into memory; goes on with inner.accumulate="
    assert f"{said}{problem.inner.parts}" in capsys.readouterr().err
    assert torch.allclose(gradient, expected, rtol=1e-2, atol=1e-3 * float(expected.norm()))


@pytest.mark.full
def test_an_evaluation_is_the_same_before_and_after(work, monkeypatch):
    """A search that goes on in another process has the bits of one that was not interrupted."""
    fresh = problem_in(settled(work, *DIVISIBLE))
    point = fresh.space.plain(fresh.start)
    room = 0.75 * fresh.forecasts.of(storage="segments").bytes
    with_room(monkeypatch, room / forecasts.SHARE)
    monkeypatch.setattr("metaft.inner.storage.free_memory", lambda device: room)
    cut = problem_in(settled(work, *DIVISIBLE))
    cut.hypergradient(cut.start, seed=1)
    assert cut.inner.parts > 1
    assert cut.evaluate(point, 4).value == fresh.evaluate(point, 4).value


@pytest.mark.full
@pytest.mark.parametrize("estimator", ["unroll", "differences"])
def test_auto_goes_through_the_outer_set_in_parts_before_that(work, monkeypatch, capsys, estimator):
    """Where its graph is the most that is in memory; nothing is cut that does not compare images."""
    words = ("inner.batch_size=8", f"hypergrad.estimator={estimator}", "hypergrad.storage=auto")
    whole = problem_in(settled(work, *words))
    kept, peak = whole.forecasts.footprint(estimator == "unroll"), whole.forecasts.of(storage="segments").bytes
    whole._memory._cut(Cuts(1, True))
    room = (peak + whole.forecasts.of(storage="segments").bytes) / 2
    with_room(monkeypatch, room / forecasts.SHARE)
    monkeypatch.setattr("metaft.inner.storage.free_memory", lambda device: room)
    problem = problem_in(settled(work, *words))
    problem.hypergradient(problem.start, seed=1)
    assert problem.inner.parts == 1
    assert problem.forecasts.of().bytes <= room
    cut = problem.forecasts.footprint(estimator == "unroll")
    assert kept.outer / 9 < cut.outer < kept.outer / 2
    said = "search: a hypergradient does not fit into memory; goes on with the outer set in parts"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", by_default([()], [(), DIVISIBLE]), ids=["flyp compares all images", "nothing would do"]
)
def test_batches_stay_whole_where_parts_do_not_help(work, monkeypatch, words):
    with_room(monkeypatch, 1.0)
    problem = problem_in(settled(work, *words))
    problem.hypergradient(problem.start, seed=1)
    assert problem.inner.parts == 1


def test_a_budget_of_ones_own_is_kept_to_by_plans_alone(work, monkeypatch):
    with_room(monkeypatch, 1.0)
    problem = problem_in(settled(work, "hypergrad.memory=1e-6"))
    problem.hypergradient(problem.start, seed=1)
    assert problem.inner.parts == 1
