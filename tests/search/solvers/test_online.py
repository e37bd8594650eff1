"""The online regime: windows are hypergradients from where a training stands; a schedule replays to the same model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft import config
from metaft.build.fits import finetune_cost, fit_settings
from metaft.build.problem import problem_in
from metaft.build.solver import online
from metaft.build.space import objective_of
from metaft.errors import ConfigError
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train
from metaft.objective import Objective, load_objective
from metaft.search.journal import Journal
from metaft.training.schedule import paces, warmup_cosine
from tests.conftest import SMALL

SHARE = 3  # of the fine-tune: a window after every other of its steps
ONLINE = (*SMALL, "search.mode=hypergrad", "hypergrad.regime=online", "finetune.epochs=3", "hypergrad.lr=0.2")


@pytest.fixture(scope="module")
def online_work(work):
    return replace(work, cfg=config.load(None, [*ONLINE, f"hypergrad.share={SHARE}"]))


def begin(work) -> Objective:
    problem = problem_in(work)
    return objective_of(work.cfg, problem.space.plain(problem.start))


def trained(work, objective, steer=None):
    """A fine-tune on an objective, as `autoft` does it."""
    context = FitContext(fit_settings(work, objective))
    return train(work.classifier, objective, work.splits.search_data, context, "autoft", steer=steer)


def steered(work, journal, stop_at=None):
    """A training steered by hypergradients, as the pipeline has it, and what steered it."""
    steering = online(work, problem_in(work), journal)

    def steer(step, steps, state):
        if step == stop_at:
            raise KeyboardInterrupt
        return objective_of(work.cfg, steering(step, state))

    return trained(work, begin(work), steer), steering


def test_a_window_at_the_start_is_a_hypergradient(work):
    problem = problem_in(work)
    there = problem.window(problem.start, 3, problem.inner.first.initial(), problem.paces)
    here = problem.hypergradient(problem.start, 3)
    assert there[0].value == here[0].value
    assert there[1].tolist() == here[1].tolist()


@pytest.fixture(scope="module")
def through(online_work):
    """A steered training that nothing interrupts: its model, what steered it, its journal."""
    journal = Journal()
    return *steered(online_work, journal), journal


def test_one_training_gives_model_and_schedule(online_work, through, tmp_path):
    model, steering, journal = through
    assert len(journal.records) == -(-steering.total // steering.every)
    assert steering.step_equivalents <= SHARE * finetune_cost(online_work)
    stages = tuple((start, objective_of(online_work.cfg, p)) for start, p in steering.schedule[1:])
    assert len(stages) >= 2
    learned = replace(begin(online_work), schedule=stages)
    learned.save(tmp_path / "objective.yaml")
    assert load_objective(tmp_path / "objective.yaml") == learned
    again = trained(online_work, learned)
    for name, p in model.state_dict().items():
        assert torch.equal(p, again.state_dict()[name]), name
    plain = trained(online_work, begin(online_work))
    assert not torch.equal(plain.head.weight, model.head.weight)


def test_windows_start_where_the_training_stands(online_work):
    """With the training's moments and its place on the cosine, a step of the inner loop is the training's own next."""
    seen = []

    def look(step, steps, state):
        seen.append(state())
        return objective

    objective = begin(online_work)
    context = FitContext(replace(fit_settings(online_work, objective), steps=4, checks=1))
    train(online_work.classifier, objective, online_work.splits.search_data, context, "autoft", steer=look)
    problem = problem_in(online_work)
    settings = context.settings
    generator = torch.Generator().manual_seed(settings.seed)
    batches = problem._folds[0].batches.drawn(4, settings.finetune.batch_size, generator)
    pace = warmup_cosine(2, 4, settings.finetune.warmup)
    following = problem.inner.first.plain(seen[2], batches[2]._replace(pace=pace), objective.values())
    with torch.no_grad():  # outputs, as key biases, which move none, drift apart by rounding
        images = batches[0].images
        ours, theirs = (problem.inner.first.forward(state.params, images).logits for state in (following, seen[3]))
    assert torch.allclose(ours, theirs, atol=1e-3)
    assert not torch.allclose(ours, problem.inner.first.forward(seen[2].params, images).logits, atol=1e-2)


@pytest.mark.full
def test_an_interrupted_training_goes_on_to_the_same_schedule(online_work, through, tmp_path):
    *_, expected = through
    part = tmp_path / "trials.jsonl"
    with pytest.raises(KeyboardInterrupt):
        steered(online_work, Journal(part), stop_at=5)
    resumed = Journal(part)
    assert 0 < len(resumed.records) < len(expected.records)
    steered(online_work, resumed)
    for first, second in zip(expected.records, resumed.records, strict=True):
        assert second.params == pytest.approx(first.params, rel=1e-4)
        assert second.outcome.value == pytest.approx(first.outcome.value, rel=1e-5)


def test_a_share_without_an_outer_step_is_refused(work):
    small = replace(work, cfg=config.load(None, [*ONLINE, "hypergrad.share=0.05"]))
    with pytest.raises(
        ConfigError, match=r"hypergrad\.share: 2 step equivalents, but an outer step takes 2 windows of 10 each"
    ):
        online(small, problem_in(small), Journal())


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_an_inner_schedule_is_torchs(work, schedule):
    """The inner loop with a pace against torch.optim.AdamW whose learning rate is set by hand."""
    problem = problem_in(
        replace(work, cfg=config.load(None, [*SMALL, f"inner.schedule={schedule}", "inner.steps=5", "inner.stretch=1"]))
    )
    h = {"ce": 1.0, "lr": 1e-3, "wd": 0.1}
    factors = [warmup_cosine(t, 5, 0.1) for t in range(5)] if schedule == "cosine" else [1.0] * 5
    assert paces(schedule, 5, 0.1, 12, 1.0) == tuple(factors)
    batches = problem.inner_batches(torch.Generator().manual_seed(0))
    state = problem.inner.first.initial()
    theirs = [p.detach().clone().requires_grad_() for p in state.params]
    adam = torch.optim.AdamW(theirs, lr=1e-3, weight_decay=0.1, eps=work.cfg.inner.eps)
    for batch, factor in zip(batches, factors, strict=True):
        state = problem.inner.first.plain(state, batch, h)
        adam.param_groups[0]["lr"] = 1e-3 * factor
        grads = torch.autograd.grad(problem.inner.first.loss(theirs, batch, h), theirs, allow_unused=True)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = g
        adam.step()
    for ours, other in zip(state.params, theirs, strict=True):
        assert torch.allclose(ours, other, atol=1e-6)
