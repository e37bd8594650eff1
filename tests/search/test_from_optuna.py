"""Optuna's samplers as ours: its own proposals, functions of (history, seed, number)."""

from __future__ import annotations

import doctest
import math
from functools import partial

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import GPSampler, QMCSampler, TPESampler

from metaft import config
from metaft.build.check import faults_of
from metaft.run import main
from metaft.search import from_optuna
from metaft.search.bilevel import Budget
from metaft.search.executors.registry import EXECUTORS, Place
from metaft.search.from_optuna import Sobol, gp, tpe, values
from metaft.search.journal import Journal
from metaft.search.random import Uniform
from metaft.search.registry import SAMPLERS
from metaft.search.sampler import BAD, Failed, History, Stopped
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.space import Categorical, Float, Int, Space
from tests.conftest import by_default
from tests.search.problems import Bowl, bowl

STARTUP = 10  # trials after which Optuna's TPE and Gaussian process learn
MADE = {"optuna-tpe": tpe, "optuna-gp": gp, "optuna-qmc": Sobol}
OPTUNAS = {
    tpe: lambda seed: TPESampler(seed=seed, constant_liar=True),
    gp: lambda seed: GPSampler(seed=seed),
}
each_sampler = pytest.mark.parametrize("make", MADE.values(), ids=MADE)
quick_sampler = pytest.mark.parametrize("make", by_default((tpe, Sobol), MADE.values()), ids=MADE)
each_learner = pytest.mark.parametrize("make", OPTUNAS, ids=["tpe", "gp"])
quick_learner = pytest.mark.parametrize("make", by_default((tpe,), OPTUNAS), ids=["tpe", "gp"])
SPACE = Space(  # every kind of dimension
    [
        Float("lr", 1e-5, 1e-1, log=True),
        Float("w", 0.0, 10.0, scale="asinh"),
        Int("rank", 1, 64, log=True),
        Categorical("head", ("a", None, 2)),
        Float("mix", 0.0, 1.0, when=("head", (None, 2))),
    ]
)


def test_the_modes_are_these():
    assert {name: kind.make.target for name, kind in SAMPLERS.items() if kind.package == "optuna"} == MADE


@quick_learner
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of the sampler made here
def test_proposals_are_optunas(make):
    """On a sphere, against one study of Optuna's own whose sampler is made anew for each trial, some under way."""
    over = {"x": FloatDistribution(0.0, 1.0), "n": IntDistribution(1, 9), "k": CategoricalDistribution(("a", "b"))}
    ours = make(Space([Float("x", 0.0, 1.0), Int("n", 1, 9), Categorical("k", ("a", "b"))]), seed=7)
    study = optuna.create_study()
    for number in range(STARTUP + 5):
        study.sampler = OPTUNAS[make](int(np.random.SeedSequence([7, number]).generate_state(1)[0]))
        theirs, trial = study.ask(over), ours.ask()
        assert trial.params == theirs.params
        value = (trial.params["x"] - 0.3) ** 2 + (trial.params["n"] / 9 - 0.5) ** 2 + (trial.params["k"] == "a")
        if number != STARTUP + 2:
            study.tell(theirs, value)
            ours.tell(number, value)


def test_sobol_points_are_optunas_and_even():
    """Optuna draws the first trial of a study by chance, and point 0 for the second; each is in a cell of its own."""
    ours = Sobol(Space([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)]), seed=7)
    points = [ours.ask().params for _ in range(16)]
    for axis in ("x", "y"):
        assert sorted(int(16 * point[axis]) for point in points) == list(range(16))
    with pytest.warns(ExperimentalWarning):
        study = optuna.create_study(sampler=QMCSampler(scramble=True, seed=7))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=9)
    assert [trial.params for trial in study.trials[1:]] == points[:8]


def value_of(params):
    return abs(math.log10(params["lr"]) + 3) + abs(params["w"] - 2) + params["rank"] / 64 + params.get("mix", 1.5)


def some(history: History, count: int) -> History:
    """A history of uniform points: told, failed, stopped, under way and of a value that is large."""
    for number in range(count):
        params = Uniform(SPACE, seed=1).propose(history, number)
        history = history.begun(params)
        told = {3: Failed("so it did"), 5: Stopped(value_of(params)), 7: 1e300, 9: None}
        if (value := told.get(number, value_of(params))) is not None:
            history = history.told(len(history) - 1, value)
    return history


@quick_sampler
def test_a_proposal_is_a_function_of_history_seed_and_number(make, capfd):
    """Whatever else was asked before; with nothing said, and no draw of torch's own or of NumPy's."""
    long, short = some(History.empty(SPACE), STARTUP + 4), some(History.empty(SPACE), STARTUP + 3)
    before = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), optuna.logging.get_verbosity())
    first = make(SPACE, 3).propose(long, 30)
    used = make(SPACE, 3)
    used.propose(short, 31)
    assert used.propose(long, 30) == first
    assert make(SPACE, 4).propose(long, 30) != first != make(SPACE, 3).propose(long, 29)
    SPACE.to_unit(first)
    now = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), optuna.logging.get_verbosity())
    assert now == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("make", "trials"), [(tpe, STARTUP + 4), (Sobol, 6), pytest.param(gp, STARTUP + 2, marks=pytest.mark.full)]
)
def test_a_search_goes_on_from_any_line_to_the_same_end(make, trials, tmp_path):
    path, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    solver = BlackBoxSolver(make, seed=5)
    expected = solver.solve(Bowl(noise=0.1), Budget(trials=trials), whole := Journal(path))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        part.write_bytes(b"".join(lines[:kept]))
        result = solver.solve(Bowl(noise=0.1), Budget(trials=trials), journal := Journal(part))
        assert (result.params, result.value, journal.records) == (expected.params, expected.value, whole.records)


@pytest.mark.full
def test_sobol_points_are_the_same_on_any_number_of_workers():
    here, there = Journal(), Journal()
    BlackBoxSolver(Sobol).solve(Bowl(), Budget(trials=7), here)
    executor = partial(EXECUTORS["processes"].make, place=Place(bowl, 2))
    BlackBoxSolver(Sobol, executor=executor).solve(Bowl(), Budget(trials=7), there)
    assert there.starts == here.starts


@each_learner
def test_the_order_in_which_trials_end_changes_nothing(make):
    first, second = make(SPACE, 2), make(SPACE, 2)
    points = [first.ask().params for _ in range(STARTUP + 1)]
    assert [second.ask().params for _ in points] == points
    for sampler, order in ((first, range(STARTUP)), (second, reversed(range(STARTUP)))):
        for number in order:
            sampler.tell(number, value_of(points[number]))
    assert first.ask() == second.ask()


def test_what_is_told_of_trials_without_a_value():
    space = Space([Float("x", 0.0, 1.0)])
    history = History.empty(space)
    for row, told in enumerate([1.0, Failed("no luck"), 3.0, Stopped(0.5), Stopped(5.0), math.inf, -1e300]):
        history = history.begun({"x": 0.1 * row}).told(row, told)
    assert values(history).tolist() == [1.0, 5.0, 3.0, 3.0, 5.0, 5.0, -1e100]
    assert values(History.empty(space).begun({"x": 0.5}).told(0, Failed("no luck"))).tolist() == [0.0]


@quick_learner
def test_failures_are_avoided(make):
    """The best points lie at the edge of what fails; a sampler that is not shown failures goes on beyond it."""

    def failed(forgets):
        space = Space([Float("x", 0.0, 1.0)])
        history, shares = History.empty(space), []
        for number in range(STARTUP + 16):
            seen = (history.kind != BAD) | (not forgets)
            shown = History(space, history.x[seen], history.kind[seen], history.y[seen])
            params = make(space, 0).propose(shown, number)
            shares.append(params["x"] > 0.2)
            history = history.begun(params).told(number, Failed("no luck") if shares[-1] else 1 - params["x"])
        return np.mean(shares[STARTUP:])

    assert failed(forgets=False) <= 0.6 < failed(forgets=True)


@quick_learner
def test_conditions_and_categories_are_learned(make):
    sampler, points = make(SPACE, 0), []
    for number in range(STARTUP + 14):
        params = sampler.ask().params
        SPACE.to_unit(params)
        points.append(params)
        sampler.tell(number, (params["head"] != 2) + params.get("mix", 0) + 0.1 * params["w"])
    assert {"mix" in p for p in points} == {True, False}
    assert sum(p["head"] == 2 for p in points[STARTUP:]) >= 8, "of random points one in three"


@quick_learner
@pytest.mark.parametrize("seed", by_default([0], range(4)))
def test_it_is_better_than_random(make, seed):
    def best(made):
        journal = Journal()
        BlackBoxSolver(made, seed=seed).solve(Bowl(), Budget(trials=STARTUP + 20), journal)
        return min(r.outcome.value for r in journal.trials[STARTUP:])

    assert best(make) < best(Uniform)


@each_sampler
@pytest.mark.parametrize("what", ["search.init=tpe", "search.warm_start=absent"])
def test_settings_that_it_cannot_use_are_refused(make, what):
    mode = next(name for name, made in MADE.items() if made is make)
    found = [str(fault) for fault in faults_of(config.load(None, [f"search.mode={mode}", what]))]
    learns = what.startswith("search.warm_start") and make is not Sobol
    assert found == ([] if learns else [next(fault for fault in found if f"with {mode}" in fault)])


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metaft.search.registry.find_spec", lambda name: None)
    assert main(["--mode", "optuna-gp", "--out", "run"]) == 2
    said = "search.mode: 'optuna-gp', which is not installed; allowed: hypergrad, tpe, random, or pip install"
    assert f"{said} 'metaft[optuna]'.\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is opened"


def test_the_example_runs():
    assert doctest.testmod(from_optuna) == (0, 4)
