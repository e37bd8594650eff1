"""TPE: deterministic, better than chance, and wary of what failed; Optuna is the yardstick."""

from __future__ import annotations

import math
import warnings

import numpy as np
import optuna
import pytest

from metaft.objective.space import Categorical, Float, Int, Space
from metaft.search.tpe import TPE, Failed, improvement, split

SPHERE = Space([Float(f"x{i}", -5.0, 5.0) for i in range(5)])


def sphere(params: dict[str, float]) -> float:
    return sum((x - 1.3) ** 2 for x in params.values())


def best_of(sampler: TPE, f, trials: int) -> float:
    values = []
    for _ in range(trials):
        trial = sampler.ask()
        values.append(f(trial.params))
        sampler.tell(trial.number, values[-1])
    return min(values)


def test_no_worse_than_optuna_on_a_sphere():
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def theirs(seed: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
            study.optimize(lambda t: sum((t.suggest_float(f"x{i}", -5, 5) - 1.3) ** 2 for i in range(5)), 100)
        return float(study.best_value)

    ours = np.median([best_of(TPE(SPHERE, seed), sphere, 100) for seed in range(5)])
    chance = np.median([best_of(TPE(SPHERE, seed, startup=1000), sphere, 100) for seed in range(5)])
    assert ours <= 1.25 * np.median([theirs(seed) for seed in range(5)])
    assert ours < chance / 5


def test_finds_the_right_category_and_whole_number():
    space = Space([Float("lr", 1e-5, 1.0, log=True), Int("n", 1, 9), Categorical("kind", ("a", "b", "c"))])

    def f(p):
        return (math.log10(p["lr"]) + 2) ** 2 + (p["n"] - 7) ** 2 / 9 + {"a": 1.0, "b": 0.0, "c": 2.0}[p["kind"]]

    assert np.median([best_of(TPE(space, seed), f, 80) for seed in range(5)]) < 0.1


def test_same_history_and_seed_give_the_same_proposal():
    def history(upto: int) -> TPE:
        sampler = TPE(SPHERE, seed=3)
        for _ in range(upto):
            trial = sampler.ask()
            sampler.tell(trial.number, sphere(trial.params))
        return sampler

    assert history(15).ask() == history(15).ask()
    assert TPE(SPHERE, seed=4).ask() != TPE(SPHERE, seed=3).ask()


def test_running_trials_change_the_next_proposal():
    sampler = TPE(SPHERE, seed=0)
    best_of(sampler, sphere, 20)
    assert sampler.ask().params != sampler.ask().params


@pytest.mark.parametrize("bad", [math.nan, math.inf, Failed("out of memory")])
def test_failures_are_avoided(bad):
    space = Space([Float("lr", 1e-6, 1.0, log=True)])
    sampler = TPE(space, seed=0)
    beyond = 0
    for number in range(100):
        trial = sampler.ask()
        diverges = trial.params["lr"] > 1e-3
        beyond += diverges and number >= 20
        sampler.tell(trial.number, bad if diverges else -math.log10(trial.params["lr"]) * -1)
    assert beyond <= 8


def test_the_queue_comes_first():
    sampler = TPE(SPHERE)
    recipe = {f"x{i}": 0.5 for i in range(5)}
    sampler.enqueue(recipe)
    assert sampler.ask().params == recipe
    assert sampler.ask().params != recipe


def test_telling_twice_is_an_error():
    sampler = TPE(SPHERE)
    trial = sampler.ask()
    sampler.tell(trial.number, 1.0)
    with pytest.raises(ValueError, match="told before"):
        sampler.tell(trial.number, 1.0)
    with pytest.raises(ValueError, match="unknown"):
        sampler.tell(7, 1.0)


def test_split_and_weights():
    y = np.array([3.0, 1.0, np.inf, 2.0, 1.0])
    good, bad = split(y, 5)
    assert (good.tolist(), bad.tolist()) == ([1], [0, 2, 3, 4])
    assert len(split(np.arange(1000.0), 1000)[0]) == 25
    weights, prior = improvement(np.array([1.0, 2.0]), np.array([4.0, 5.0]))
    assert (weights.tolist(), prior) == ([3.0, 2.0], 2.5)
    weights, prior = improvement(np.array([1.0]), np.array([np.inf]))
    assert (weights.tolist(), prior) == ([1.0], 1.0)
