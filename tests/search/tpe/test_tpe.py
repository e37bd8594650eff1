"""TPE: a function of its history, never invalid, wary of what failed; Optuna is the yardstick."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaft.errors import ConfigError
from metaft.search.random import Uniform
from metaft.search.sampler import History
from metaft.search.tpe import tpe
from metaft.search.tpe.tpe import BAD, OK, RUNNING, STOPPED, TPE, Failed, Stopped, improvement, split
from metaft.space import Categorical, Float, Int, Space

GOLDEN = Path(__file__).parent / "golden-tpe.json"
SPHERE = Space([Float(f"x{i}", -5.0, 5.0) for i in range(5)])
KINDS = Categorical("kind", ("a", "b", "c"))
MIXED = Space(
    [
        Float("lr", 1e-5, 1.0, log=True),
        Float("w", 0.0, 10.0, scale="softplus"),
        Int("n", 1, 9),
        Int("width", 1, 512, log=True),
        KINDS,
        Float("only_a", 0.0, 1.0, when=("kind", ("a",))),
        Int("only_bc", 1, 4, when=("kind", ("b", "c"))),
    ]
)


def sphere(params) -> float:
    return sum((x - 1.3) ** 2 for x in params.values())


def mixed(p) -> float:
    own = p["only_a"] if p["kind"] == "a" else p["only_bc"] / 4
    return (math.log10(p["lr"]) + 2) ** 2 + (p["n"] - 7) ** 2 / 9 + math.log(p["width"]) / 9 + p["w"] + own


def played(sampler, f, trials: int):
    for _ in range(trials):
        trial = sampler.ask()
        sampler.tell(trial.number, f(trial.params))
    return sampler


def best_of(sampler, f, trials: int) -> float:
    values: list[float] = []

    def told(params):
        values.append(f(params))
        return values[-1]

    played(sampler, told, trials)
    return min(values)


def test_better_than_optuna_and_chance_on_a_sphere():
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def theirs(seed: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
            study.optimize(lambda t: sum((t.suggest_float(f"x{i}", -5, 5) - 1.3) ** 2 for i in range(5)), 100)
        return float(study.best_value)

    ours = np.median([best_of(TPE(SPHERE, seed), sphere, 100) for seed in range(5)])
    chance = np.median([best_of(Uniform(SPHERE, seed), sphere, 100) for seed in range(5)])
    assert ours <= 1.05 * np.median([theirs(seed) for seed in range(5)])
    assert ours < chance / 5


@pytest.mark.parametrize("multivariate", [True, False])
def test_finds_the_right_category_and_whole_number(multivariate):
    def f(p):
        penalty = {"a": 1.0, "b": 0.0, "c": 2.0}[p["kind"]]
        return (math.log10(p["lr"]) + 2) ** 2 + (p["n"] - 7) ** 2 / 9 + penalty

    space = Space([Float("lr", 1e-5, 1.0, log=True), Int("n", 1, 9), KINDS])
    found = [best_of(TPE(space, seed, multivariate=multivariate), f, 80) for seed in range(5)]
    assert np.median(found) < 0.1


@pytest.mark.parametrize("multivariate", [True, False])
def test_same_history_and_seed_give_the_same_proposal(multivariate):
    first, second = (played(TPE(MIXED, seed=3, multivariate=multivariate), mixed, 25) for _ in range(2))
    assert first.ask() == second.ask()
    assert TPE(MIXED, seed=4).ask() != TPE(MIXED, seed=3).ask()


def test_the_order_of_completion_changes_nothing():
    samplers = [TPE(MIXED, seed=0), TPE(MIXED, seed=0)]
    for sampler, order in zip(samplers, (range(20), reversed(range(20))), strict=True):
        trials = [sampler.ask() for _ in range(20)]
        for number in order:
            sampler.tell(number, mixed(trials[number].params))
    assert [samplers[0].ask() for _ in range(3)] == [samplers[1].ask() for _ in range(3)]


def test_proposals_against_a_golden_file():
    """Written by `python -m tests.search.tpe.test_tpe`; every proposal follows from the history in the file."""
    golden = json.loads(GOLDEN.read_text())
    assert len(golden) == 2
    for name, history in golden.items():
        sampler = TPE(MIXED, seed=11, multivariate=name == "multivariate")
        for number, (params, value) in enumerate(history):
            if number >= 10:
                proposed = TPE(MIXED, seed=11, multivariate=name == "multivariate")
                for earlier, told in history[:number]:
                    proposed.enqueue(earlier)
                    proposed.tell(proposed.ask().number, told)
                found = proposed.ask().params
                assert list(found) == list(params)
                for key, expected in params.items():
                    assert found[key] == (
                        pytest.approx(expected, rel=1e-9) if key in ("lr", "w", "only_a") else expected
                    )
            sampler.observe(params, value)


def course(seed: int) -> list[History]:
    """Histories as a search makes them: one trial after the other begins and ends, some of them late."""
    rng, history, running, histories = np.random.default_rng(seed), History.empty(MIXED), [], []
    while len(history) < 40:
        if running and rng.random() < 0.5:
            row = running.pop(rng.integers(len(running)))
            value = mixed(MIXED.plain(torch.from_numpy(history.x[row])))
            history = history.told(row, rng.choice([value, Stopped(value), Failed("no")], p=[0.8, 0.1, 0.1]))
        else:
            running.append(len(history))
            history = history.begun(MIXED.plain(torch.from_numpy(rng.integers(9, size=len(MIXED)) / 8)))
        histories.append(history)
    return histories


@pytest.mark.parametrize("multivariate", [True, False])
def test_what_is_kept_between_proposals_changes_none(multivariate):
    """One sampler is asked about histories that grow, about two in turn, and about older and unrelated ones again."""
    first, second = course(0), course(1)
    turns = [h for pair in zip(first[15:], second[15:], strict=False) for h in pair]
    sampler = TPE(MIXED, seed=2, multivariate=multivariate)
    for number, history in enumerate([*first, *turns, first[40], History.empty(MIXED), second[-1]]):
        fresh = TPE(MIXED, seed=2, multivariate=multivariate)
        assert sampler.propose(history, number) == fresh.propose(history, number)
    assert sampler.ask() == TPE(MIXED, seed=2).ask(), "proposals leave no trace in what was asked and told"


def test_rough_densities_change_no_proposal(monkeypatch):
    """Proposals are those of a sampler that looks closely at every draw."""
    histories = [*course(0)[25:], *course(3)[25:]]
    expected = [TPE(MIXED, seed=2).propose(h, i) for i, h in enumerate(histories)]
    monkeypatch.setattr(tpe, "ROUGH", math.inf)
    assert [TPE(MIXED, seed=2).propose(h, i) for i, h in enumerate(histories)] == expected


def test_asking_and_telling_is_proposing_from_a_history():
    sampler, history = TPE(MIXED, seed=5), History.empty(MIXED)
    recipe = MIXED.plain(torch.full((len(MIXED),), 0.5, dtype=torch.float64))
    sampler.observe(recipe, 7.0)
    history = history.begun(recipe).told(0, 7.0)
    for number in range(30):
        trial = sampler.ask()
        assert trial.number == number
        assert trial.params == TPE(MIXED, seed=5).propose(history, number)
        history = history.begun(trial.params)
        if number % 3:
            sampler.tell(number, mixed(trial.params))
            history = history.told(number + 1, mixed(trial.params))
    assert Uniform(SPHERE, 3).propose(History.empty(SPHERE), 8) == played(Uniform(SPHERE, 3), sphere, 8).ask().params


def test_a_history_grows_by_making_others():
    empty, point = History.empty(MIXED), MIXED.plain(torch.zeros(len(MIXED), dtype=torch.float64))
    running = empty.begun(point)
    ended = [running.told(0, told) for told in (3.0, Stopped(2.0), Failed("no"), math.nan, Stopped(math.inf))]
    assert (len(empty), len(running), running.kind.tolist(), running.y.tolist()) == (0, 1, [RUNNING], [math.inf])
    assert [int(h.kind[0]) for h in ended] == [OK, STOPPED, BAD, BAD, BAD]
    assert [float(h.y[0]) for h in ended] == [3.0, 2.0, math.inf, math.inf, math.inf]
    assert np.isnan(running.x[0]).tolist() == [False] * 6 + [True], "only_bc is not there"
    assert running.holds(point)
    assert not running.holds({**point, "only_a": 0.5})
    assert not empty.holds(point)
    with pytest.raises(ValueError, match="missing or unknown"):
        empty.begun({"lr": 0.1})


def test_running_trials_change_the_next_proposal():
    sampler = played(TPE(SPHERE, seed=0), sphere, 20)
    asked = [tuple(sampler.ask().params.values()) for _ in range(8)]
    assert len(set(asked)) == 8
    apart = [math.dist(a, b) for i, a in enumerate(asked) for b in asked[:i]]
    assert min(apart) > 0.05


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, Failed("out of memory")])
def test_failures_are_avoided(bad):
    space = Space([Float("lr", 1e-6, 1.0, log=True)])
    beyond = []

    def f(params):
        beyond.append(params["lr"] > 1e-3)
        return bad if beyond[-1] else -math.log10(params["lr"]) * -1

    played(TPE(space, seed=0), f, 100)
    assert sum(beyond[20:]) <= 8


def test_startup_counts_failures_and_observations():
    sampler = played(TPE(SPHERE, seed=0), lambda p: Failed("no"), 10)
    assert sampler.ask().params != Uniform(SPHERE, 0).ask().params
    observed = TPE(SPHERE, seed=0)
    rng = np.random.default_rng(0)
    for x in rng.uniform(1.2, 1.4, (10, 5)):
        observed.observe(dict(zip(SPHERE.names, x, strict=True)), float(((x - 1.3) ** 2).sum()))
    assert observed.ask().number == 0
    fresh = TPE(SPHERE, seed=0)
    assert fresh.ask().params == Uniform(SPHERE, 0).ask().params, "the first are uniform"


def test_stopped_trials_rank_between_ended_and_failed():
    kind = np.array([STOPPED, OK, BAD, OK, STOPPED, BAD])
    y = np.array([0.1, 5.0, np.inf, 4.0, 0.0, np.inf])
    assert split(kind, y)[0].tolist() == [3]
    many = np.repeat([OK, STOPPED, BAD, RUNNING], [1, 30, 30, 10])
    values = np.concatenate([[9.0], np.linspace(1, 0, 30), np.full(40, np.inf)])
    good, bad = split(many, values)
    assert good.tolist() == [0, *range(22, 31)], "61 told: the only one that ended, then the best stopped ones"
    assert len(good) + len(bad) == 71


def test_a_stopped_trial_is_never_preferred_to_one_that_ended():
    space = Space([Float("x", 0.0, 1.0)])
    sampler = TPE(space, seed=0)
    for i in range(20):
        x = i / 20
        sampler.observe({"x": x}, Stopped(-1.0) if x > 0.5 else abs(x - 0.2))
    assert abs(sampler.ask().params["x"] - 0.2) < 0.15


def test_the_queue_comes_first():
    sampler = TPE(SPHERE)
    recipe = {f"x{i}": 0.5 for i in range(5)}
    sampler.enqueue(recipe)
    assert sampler.ask().params == recipe
    assert sampler.ask().params != recipe


def test_faults_of_the_caller():
    sampler = TPE(SPHERE)
    trial = sampler.ask()
    sampler.tell(trial.number, 1.0)
    with pytest.raises(ValueError, match=r"trial 0 was told before; allowed: each trial once"):
        sampler.tell(trial.number, 1.0)
    with pytest.raises(ValueError, match=r"no trial 7 was asked for; allowed: 0 to 0"):
        sampler.tell(7, 1.0)
    with pytest.raises(ValueError, match=r"missing or unknown \['x4'\]"):
        sampler.enqueue({f"x{i}": 0.5 for i in range(4)})
    with pytest.raises(ValueError, match=r"'d'; allowed: 'a', 'b', 'c'"):
        TPE(Space([KINDS])).observe({"kind": "d"}, 1.0)


@pytest.mark.parametrize("value", [None, "1", [1.0], np.zeros(2), torch.zeros(2), Stopped(None), Failed, 1j])
def test_what_is_no_value_is_refused_and_may_be_told_after_all(value):
    sampler = TPE(SPHERE)
    trial = sampler.ask()
    with pytest.raises(ValueError, match=r"tell: .*; allowed: a number, Failed or Stopped"):
        sampler.tell(trial.number, value)
    sampler.tell(trial.number, 10**400)


def test_arguments_of_another_kind_are_named():
    for seed in (-1, None, 1.5, "0"):
        for make in (TPE, Uniform):
            with pytest.raises(ValueError, match=rf"seed: {seed!r}; allowed: a whole number from 0"):
                make(SPHERE, seed)
    for space in (None, list(SPHERE)):
        with pytest.raises(ValueError, match=r"space: a .*; allowed: a Space"):
            TPE(space)
    with pytest.raises(
        ConfigError, match=r"tpe\.startups: unknown key.*Did you mean 'tpe\.startup'\?\n.*tpe\.candidates: 0"
    ):
        TPE(SPHERE, startups=3, candidates=0)
    for number in ("0", 0.0, 0.5, None):
        with pytest.raises(ValueError, match=r"no trial .* was asked for; allowed: what `ask` has given"):
            TPE(SPHERE).tell(number, 1.0)


@pytest.mark.parametrize("params", [{"x": 7.0, "n": 2}, {"x": 0.5, "n": 0}, {"x": 0.5, "n": 2.5}, [0.5, 2]])
def test_points_outside_are_neither_queued_nor_learned(params):
    sampler = TPE(Space([Float("x", 0.0, 1.0), Int("n", 1, 3)]))
    for take in (sampler.enqueue, lambda params: sampler.observe(params, 1.0)):
        with pytest.raises(ValueError, match="; allowed: "):
            take(params)
    assert 0 <= sampler.ask().params["x"] <= 1


@pytest.mark.parametrize("scale", ["linear", "log", "softplus", "asinh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corners_are_points_however_they_round(scale, dtype):
    space = Space([Float(f"x{i}", 3.7e-6 * 1.3**i, 2.9e-3 * 1.7**i, scale=scale) for i in range(20)])
    corners = [space.plain(torch.full((20,), u, dtype=dtype)) for u in (0.0, 1.0)]
    sampler = TPE(space)
    for corner in corners:
        sampler.enqueue(corner)
        sampler.observe(corner, 1.0)
    assert [sampler.ask().params for _ in corners] == corners


@pytest.mark.parametrize("multivariate", [True, False])
def test_nothing_is_tried_twice_while_something_is_left(multivariate):
    space = Space([KINDS, Int("n", 1, 5), Int("m", 1, 2, when=("kind", ("b",)))])
    sampler = TPE(space, seed=0, multivariate=multivariate)
    seen = []
    for _ in range(20):
        trial = sampler.ask()
        seen.append(tuple(trial.params.items()))
        sampler.tell(trial.number, trial.params["n"] + (trial.params["kind"] == "a"))
    assert len(set(seen)) == 20, "all of 5 + 5 * 2 + 5 points"
    assert tuple(sampler.ask().params.items()) in seen


def test_only_the_order_counts_where_weights_are_uniform():
    plain = played(TPE(MIXED, seed=1, weights="uniform"), mixed, 40)
    bent = played(TPE(MIXED, seed=1, weights="uniform"), lambda p: math.exp(mixed(p)) - 7, 40)
    assert plain.ask() == bent.ask()


def test_improvements():
    weights = improvement(np.array([1.0, 2.0]), np.array([4.0, 5.0]))
    assert weights.tolist() == [1.0, 2 / 3]
    assert improvement(np.array([1.0, 4.0]), np.array([4.0])).tolist() == [1.0, 1e-12]
    assert improvement(np.array([4.0, 4.0]), np.array([4.0])).tolist() == [1.0, 1.0]
    assert improvement(np.array([-1.7e308, 0.0]), np.array([1.7e308])).tolist() == [1.0, 0.5], "no overflow"
    assert improvement(np.array([1.0]), np.array([np.inf])).tolist() == [1.0]
    assert improvement(np.array([1.0]), np.empty(0)).tolist() == [1.0]


def test_wide_whole_numbers_stay_whole():
    space = Space([Int("steps", 1, 10**9, log=True), Int("n", -(10**6), 10**6)])
    sampler = TPE(space, seed=0)
    for _ in range(30):
        trial = sampler.ask()
        assert all(isinstance(v, int) for v in trial.params.values())
        sampler.tell(trial.number, abs(math.log10(trial.params["steps"]) - 4) + abs(trial.params["n"]) / 1e6)


names = st.sampled_from([f"p{i}" for i in range(6)])
floats = st.builds(
    lambda name, low, width, scale: Float(name, low, low + width, scale=scale),
    names,
    st.floats(1e-6, 1e3),
    st.floats(1e-3, 1e6),
    st.sampled_from(["linear", "log", "softplus"]),
)
ints = st.builds(
    lambda name, low, width, log: Int(name, low, low + width, log=log),
    names,
    st.integers(1, 50),
    st.integers(1, 3000),
    st.booleans(),
)
choices = st.builds(
    Categorical, names, st.lists(st.text("abc", max_size=3), min_size=2, max_size=5, unique=True).map(tuple)
)


@st.composite
def spaces(draw) -> Space:
    found = draw(st.lists(floats | ints | choices, min_size=1, max_size=6, unique_by=lambda d: d.name))
    root = Categorical("root", ("on", "off"))
    conditional = [type(d)(**{**vars(d), "when": ("root", ("on",))}) if draw(st.booleans()) else d for d in found]
    return Space([root, *conditional])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(spaces(), st.integers(0, 1000), st.booleans(), st.lists(st.floats() | st.just(None), min_size=16, max_size=16))
def test_no_proposal_is_ever_invalid(space, seed, multivariate, values):
    sampler = TPE(space, seed, multivariate=multivariate, startup=5)
    for value in values:
        trial = sampler.ask()
        assert space.plain(space.to_unit(trial.params)).keys() == trial.params.keys()
        for d in space:
            if d.name in trial.params:
                x = trial.params[d.name]
                assert (
                    x in d.choices if isinstance(d, Categorical) else d.low * (1 - 1e-12) <= x <= d.high * (1 + 1e-12)
                )
                assert isinstance(x, int) or not isinstance(d, Int)
        if value is not None:
            sampler.tell(trial.number, value)


def write_golden() -> None:
    """A history of each kind, for other platforms to compare with."""
    golden = {}
    for name in ("multivariate", "univariate"):
        sampler, history = TPE(MIXED, seed=11, multivariate=name == "multivariate"), []
        for _ in range(40):
            trial = sampler.ask()
            value = mixed(trial.params)
            sampler.tell(trial.number, value)
            history.append((trial.params, value))
        golden[name] = history
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    write_golden()
