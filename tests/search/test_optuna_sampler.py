"""Our TPE within Optuna: the proposals of TPE itself."""

from __future__ import annotations

import doctest
import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from metaft.search import optuna_sampler
from metaft.search.optuna_sampler import TPESampler
from metaft.search.optuna_space import axis
from metaft.search.sampler import Failed, Stopped
from metaft.search.tpe.tpe import TPE
from metaft.space import Categorical, Float, Int, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)
DISTRIBUTIONS = {
    "choice": CategoricalDistribution((None, "a", 1.5)),
    "even": IntDistribution(-4, 10, step=2),
    "grid": FloatDistribution(-1.0, 1.0, step=0.25),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "rank": IntDistribution(1, 64, log=True),
    "x": FloatDistribution(-1.0, 3.0),
}
SPACE = Space(  # the same, written by hand
    [
        Categorical("choice", (0, 1, 2)),
        Int("even", 0, 7),
        Int("grid", 0, 8),
        Float("lr", 1e-5, 1e-1, log=True),
        Int("rank", 1, 64, log=True),
        Float("x", -1.0, 3.0),
    ]
)


def ours(params):
    """A point of Optuna's in the space above."""
    return {
        **params,
        "choice": DISTRIBUTIONS["choice"].choices.index(params["choice"]),
        "even": (params["even"] + 4) // 2,
        "grid": round((params["grid"] + 1) * 4),
    }


def value_of(params):
    return (params["x"] - 1) ** 2 + abs(math.log10(params["lr"]) + 3) + params["rank"] / 64 + abs(params["even"])


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_proposals_are_those_of_tpe(direction):
    """With failed and pruned trials among those that it learns from."""
    study = optuna.create_study(sampler=TPESampler(seed=3), direction=direction)
    sign, direct = (1, TPE(SPACE, seed=3)) if direction == "minimize" else (-1, TPE(SPACE, seed=3))
    for number in range(24):
        trial = study.ask(DISTRIBUTIONS)
        if number:  # the first has no trial to take its space from
            assert ours(trial.params) == pytest.approx(direct.ask().params, rel=1e-12)
        else:
            direct.enqueue(ours(trial.params))
            direct.ask()
        value = value_of(trial.params)
        if number % 7 == 3:
            study.tell(trial, state=TrialState.FAIL)
            direct.tell(number, Failed("so it did"))
        elif number % 7 == 5:
            trial.report(sign * value, step=1)
            study.tell(trial, state=TrialState.PRUNED)
            direct.tell(number, Stopped(value))
        else:
            study.tell(trial, sign * value)
            direct.tell(number, value)


def test_the_same_seed_gives_the_same_study():
    def points(seed):
        study = optuna.create_study(sampler=TPESampler(seed, startup=3))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=8)
        return [trial.params for trial in study.trials]

    assert points(1) == points(1)
    assert points(1) != points(2)
    assert points(None) != points(None)
    first = points(1)[0]
    assert first["x"] != first["y"], "each has draws of its own"


def test_the_example_runs():
    assert doctest.testmod(optuna_sampler) == (0, 5)


def test_failures_are_not_proposed_again():
    """Where Optuna's own sampler goes on proposing points that fail, since it forgets them."""

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        if x > 0.2:
            raise RuntimeError
        return 1 - x

    def failures(sampler):
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=60, catch=RuntimeError)
        return np.mean([trial.state == TrialState.FAIL for trial in study.trials[30:]])

    assert failures(TPESampler(seed=0)) <= 0.6 < failures(optuna.samplers.TPESampler(seed=0))


def test_trials_under_way_are_kept_away_from():
    study = optuna.create_study(sampler=TPESampler(seed=0, startup=3))
    over = {"x": FloatDistribution(0.0, 1.0)}
    for x in np.linspace(0, 1, 9):
        study.add_trial(create_trial(params={"x": x}, distributions=over, value=abs(x - 0.5)))
    asked = [study.ask(over).params["x"] for _ in range(6)]
    assert len(set(asked)) == 6


def test_a_parameter_of_another_range_is_another_one():
    study = optuna.create_study(sampler=TPESampler(seed=0, startup=3))
    for x in (0.9, 0.91, 0.92, 0.93):
        study.add_trial(create_trial(params={"x": x}, distributions={"x": FloatDistribution(0, 1)}, value=x))
    assert study.sampler.infer_relative_search_space(study, study.ask()) == {"x": FloatDistribution(0, 1)}
    assert 0 <= study.ask({"x": FloatDistribution(0, 0.5)}).params["x"] <= 0.5


def test_the_last_step_is_within_the_range():
    """Though -10.2 + 204 * 0.1 is above 10.2."""
    steps = axis("x", FloatDistribution(-10.2, 10.2, step=0.1))
    assert (steps.dimension, steps.outward(204)) == (Int("x", 0, 204), 10.2)


@pytest.mark.parametrize("of", [FloatDistribution(-1e308, 1e308), IntDistribution(0, 2**60)], ids=str)
def test_ranges_that_no_space_has_are_refused(of):
    study = optuna.create_study(sampler=TPESampler(seed=0))
    with pytest.raises(ValueError, match="x: range"):
        study.ask({"x": of})
