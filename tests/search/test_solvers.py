"""Solvers on a problem with a known answer: budgets, journals, resuming, explosions, the last choice."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch

from metaft.errors import ConfigError, DataError, DivergedError
from metaft.search.bilevel import BilevelProblem, Budget
from metaft.search.journal import Journal
from metaft.search.random import Uniform
from metaft.search.sampler import RUNNING, History
from metaft.search.solvers.blackbox import BlackBoxSolver, recorded
from metaft.search.solvers.hypergrad import HypergradSolver, Scout
from metaft.search.solvers.session import FinalChoice
from metaft.search.tpe.tpe import TPE
from metaft.space import Categorical, Float, Space
from tests.search.problems import Bowl, Cliff, Faulty, Slow

tpe, uniform = partial(BlackBoxSolver, TPE), partial(BlackBoxSolver, Uniform)
SOLVERS = {"hypergrad": HypergradSolver, "tpe": tpe, "random": uniform}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


def test_the_bowl_is_a_problem():
    assert isinstance(Bowl(), BilevelProblem)


@each_solver
def test_recipe_first_and_better_in_the_end(solver):
    problem, journal = Bowl(), Journal()
    result = solver(seed=1).solve(problem, Budget(trials=40), journal)
    assert problem.calls[0][1] == problem.space.plain(problem.start)
    assert result.trials == 40
    start = float(problem._value(problem.start, 0))
    assert result.value < start / 3
    assert result.value == pytest.approx(float(problem._value(problem.space.to_unit(result.params), 0)))


def test_gradients_find_the_bottom():
    result = HypergradSolver().solve(Bowl(), Budget(trials=60), Journal())
    assert [result.params["x"], result.params["y"]] == pytest.approx([0.7, 0.7], abs=0.02)


@each_solver
def test_seeds_of_trials_and_finals_are_all_different_uses(solver):
    problem = Bowl()
    solver(seed=1, final=FinalChoice(3, 0.5)).solve(problem, Budget(trials=5), Journal())
    trials, finals = problem.calls[:5], problem.calls[5:]
    assert len({seed for _, _, seed in trials}) == 5
    assert len({seed for _, _, seed in finals}) == (5 if solver is HypergradSolver else 1)
    assert not {s for *_, s in trials} & {s for *_, s in finals}
    assert all(kind == "evaluate" for kind, *_ in finals)
    assert problem.calls[0][1] in [params for _, params, _ in finals], "the recipe is a finalist"


def test_a_lucky_trial_is_not_chosen():
    """With noise the least single value is luck; the mean over fresh seeds decides."""
    problem, journal = Bowl(noise=1.0), Journal()
    result = uniform(seed=0, final=FinalChoice(10, 0.85)).solve(problem, Budget(trials=60), journal)
    luckiest = min((r for r in journal.records if r.kind == "trial"), key=lambda r: r.outcome.value)
    assert result.params != luckiest.params
    assert float(Bowl()._value(problem.space.to_unit(result.params), 0)) < 0.15


@each_solver
@pytest.mark.parametrize("limit", ["trials", "step_equivalents"])
def test_budgets_hold_with_the_last_choice_inside(solver, limit):
    problem = Bowl()
    result = solver(final=FinalChoice(2, 0.2)).solve(problem, Budget(**{limit: 60}), Journal())
    assert (result.trials if limit == "trials" else result.step_equivalents) <= 60 + 6


def test_seconds_end_a_search():
    result = uniform().solve(Bowl(), Budget(seconds=0.05), Journal())
    assert 1 <= result.trials < 10_000


@each_solver
@pytest.mark.parametrize("budget", [Budget(trials=12), Budget(step_equivalents=60)], ids=["trials", "steps"])
@pytest.mark.parametrize("kept", [1, 2, 7, 12, 13])
def test_resumed_equals_uninterrupted(solver, kept, budget, tmp_path):
    final = FinalChoice(2, 0.4)
    whole = Journal(tmp_path / "whole.jsonl")
    expected = solver(seed=5, final=final).solve(Bowl(noise=0.1), budget, whole)
    part = tmp_path / "part.jsonl"
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    part.write_text("".join(lines[: 1 + kept]))
    result = solver(seed=5, final=final).solve(Bowl(noise=0.1), budget, Journal(part))
    assert (result.params, result.value) == (expected.params, expected.value)
    assert Journal(part).records == whole.records


class Watched(TPE):
    """Keeps what it is asked."""

    asked: ClassVar[list[tuple[int, History]]] = []

    def propose(self, history, number):
        self.asked.append((number, history))
        return super().propose(history, number)


def test_a_resumed_search_reads_its_history_and_replays_nothing(tmp_path):
    earlier, path = tmp_path / "earlier.jsonl", tmp_path / "t.jsonl"
    uniform(seed=3).solve(Bowl(), Budget(trials=6), Journal(earlier))
    solver = BlackBoxSolver(Watched, warm_start=earlier)
    Watched.asked.clear()
    solver.solve(Bowl(), Budget(trials=12), whole := Journal(path))
    uninterrupted = dict(Watched.asked)
    assert list(uninterrupted) == list(range(1, 12)), "the recipe is not proposed"
    trials = [r for r in whole.records if r.kind == "trial"]
    part = Journal()
    part.records, part.starts = [r for r in whole.records[:14] if r not in trials[3:5]], whole.starts[:9]
    history = recorded(part, Bowl().space)
    order = [*(r.params for r in part.records[:6]), *(s.params for s in part.starts)]
    assert [Bowl().space.plain(torch.from_numpy(u)) for u in history.x] == [pytest.approx(p) for p in order]
    assert np.flatnonzero(history.kind == RUNNING).tolist() == [9, 10, 14], "what began and did not end"
    Watched.asked.clear()
    solver.solve(Bowl(), Budget(trials=12), part)
    assert [number for number, _ in Watched.asked] == [9, 10, 11]
    for number, now in Watched.asked:
        for name in ("x", "kind", "y"):
            np.testing.assert_array_equal(getattr(now, name), getattr(uninterrupted[number], name))


@each_solver
def test_interrupted_search_keeps_what_ended(solver, tmp_path):
    class Interrupted(Bowl):
        def _value(self, u, seed):
            if len(self.calls) == 4:
                raise KeyboardInterrupt
            return super()._value(u, seed)

    journal = Journal(tmp_path / "t.jsonl")
    with pytest.raises(KeyboardInterrupt):
        solver().solve(Interrupted(), Budget(trials=9), journal)
    assert [r.kind for r in Journal(tmp_path / "t.jsonl").records] == ["trial"] * 3


def test_a_failing_trial_is_bad_and_the_search_goes_on():
    journal = Journal()
    result = tpe(seed=1).solve(Faulty(RuntimeError), Budget(trials=60), journal)
    failed = [r for r in journal.records if r.outcome.status == "failed"]
    assert 1 <= len(failed) <= 10, "they are avoided"
    assert failed[0].outcome.reason == "RuntimeError: no luck"
    assert result.value < 0.02


def test_a_bug_is_not_a_failed_trial():
    with pytest.raises(TypeError, match="no luck"):
        tpe(seed=1).solve(Faulty(TypeError), Budget(trials=60), Journal())


def test_a_search_that_only_fails_gives_up():
    journal = Journal()
    with pytest.raises(DivergedError, match=r"10 trials in a row failed \(the last: OverflowError: no luck\)"):
        uniform().solve(Faulty(OverflowError, above=-1.0), Budget(trials=500), journal)
    assert len(journal.records) == 10


def test_hopeless_trials_are_stopped_and_rank_last():
    journal = Journal()
    result = tpe(seed=0, stopping=True).solve(Slow(), Budget(trials=60), journal)
    trials = [r for r in journal.records if r.kind == "trial"]
    stopped = [r for r in trials if r.outcome.status == "stopped"]
    assert 5 < len(stopped) < 40
    assert all(r.outcome.status == "ok" for r in trials[:5]), "nothing is stopped before enough is known"
    for r in stopped:
        *before, last = r.reports
        others = [dict(t.reports)[last[0]] for t in trials[: r.number] if last[0] in dict(t.reports)]
        assert last[1] > sorted(others)[(len(others) - 1) // 2]
        assert r.outcome.value == last[1]
        assert len(before) == last[0] - 1
    assert result.value < 0.01
    assert not {r.number for r in stopped} & {f["number"] for f in result.finalists}
    assert tpe(seed=0).solve(Slow(), Budget(trials=5), plain := Journal())
    assert not any(r.reports for r in plain.records)


def test_a_warm_start_is_observed_and_costs_nothing(tmp_path):
    earlier = tmp_path / "earlier.jsonl"
    uniform(seed=3).solve(Bowl(), Budget(trials=60), Journal(earlier))
    journal = Journal(tmp_path / "t.jsonl")
    warm = tpe(seed=0, warm_start=earlier)
    result = warm.solve(Bowl(), Budget(trials=8), journal)
    cold = tpe(seed=0).solve(Bowl(), Budget(trials=8), Journal())
    assert (result.trials, result.step_equivalents) == (8, cold.step_equivalents)
    assert result.value < cold.value / 2
    assert [r.kind for r in journal.records[:60]] == ["prior"] * 60
    earlier.unlink()
    resumed = warm.solve(Bowl(), Budget(trials=8), Journal(tmp_path / "t.jsonl"))
    assert resumed.params == result.params, "the journal keeps what it started from"


def test_a_warm_start_must_be_of_this_space(tmp_path):
    with pytest.raises(DataError, match="no such journal"):
        tpe(warm_start=tmp_path / "nothing.jsonl").solve(Bowl(), Budget(trials=3), Journal())
    path = tmp_path / "t.jsonl"
    Journal(path).bind(Space([Float("x", 0.0, 2.0), Float("y", 0.0, 1.0)]))
    message = r"t\.jsonl: journal of another space: x is high 2\.0; allowed: high 1\.0, as in this search"
    with pytest.raises(DataError, match=message):
        tpe(warm_start=path).solve(Bowl(), Budget(trials=3), Journal())
    with pytest.raises(DataError, match=message):
        tpe().solve(Bowl(), Budget(trials=3), Journal(path))


def test_the_last_choice_has_its_share():
    assert FinalChoice(8, 0.1).plan(100) == (8, 1)
    assert FinalChoice(8, 0.1).plan(45) == (4, 1), "fewer candidates where the share is small"
    assert FinalChoice(4, 0.2).plan(100) == (4, 5)
    assert FinalChoice(4, 0.2).plan(3) == (1, 1), "the best and the recipe at least"
    journal = Journal()
    uniform(final=FinalChoice(3, 0.25)).solve(Bowl(), Budget(trials=36), journal)
    assert sum(r.kind == "final" for r in journal.records) == 12


def test_explosions_are_skipped_counted_and_told(capsys):
    problem, journal = Bowl(bad_seeds=True), Journal()
    result = HypergradSolver(seed=2).solve(problem, Budget(trials=60), journal)
    exploded = sum(r.outcome.status == "diverged" for r in journal.records)
    assert exploded > 5
    assert f"{exploded} of 60 hypergradients exploded" in capsys.readouterr().err
    assert result.value < 0.02


class Sloped(Bowl):
    """Shows its slope too; `factor` is how wrong its derivative is."""

    factor = 1.0

    def hypergradient(self, u, seed):
        outcome, gradient = super().hypergradient(u, seed)
        return outcome, self.factor * gradient

    def slope(self, u, direction, seed):
        outcome, gradient = super().hypergradient(u, seed)
        return outcome, float(gradient @ direction)


@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_derivatives_are_checked_now_and_then(factor, capsys):
    problem, journal = Sloped(), Journal()
    problem.factor = factor
    result = HypergradSolver(check_every=4).solve(problem, Budget(trials=10), journal)
    checks = [r for r in journal.records if r.kind == "check"]
    assert [r.number for r in checks] == [3, 7]
    for check in checks:
        claimed, measured = check.gradient
        assert claimed == pytest.approx(factor * measured)
    assert ("hypergradient gives a slope of" in capsys.readouterr().err) == (factor > 1.1)
    assert result.trials == 10
    assert result.step_equivalents == sum(r.outcome.step_equivalents for r in journal.records)


def test_a_problem_without_slopes_is_not_checked():
    journal = Journal()
    HypergradSolver(check_every=1).solve(Bowl(), Budget(trials=3), journal)
    assert {r.kind for r in journal.records} == {"trial", "final"}


def test_the_reason_of_an_explosion_is_told(capsys):
    class Explained(Bowl):
        def hypergradient(self, u, seed):
            outcome, gradient = super().hypergradient(u, seed)
            return replace(outcome, reason="inner step 3, term l1zero"), 1e6 * gradient

    HypergradSolver().solve(Explained(), Budget(trials=3), Journal())
    assert "skipped (the last: inner step 3, term l1zero)" in capsys.readouterr().err


def test_steep_derivatives_are_clipped():
    class Steep(Bowl):
        def hypergradient(self, u, seed):
            outcome, gradient = super().hypergradient(u, seed)
            return outcome, gradient * 50

    gentle = HypergradSolver().solve(Bowl(), Budget(trials=30), Journal())
    steep = HypergradSolver().solve(Steep(), Budget(trials=30), Journal())
    assert steep.value == pytest.approx(gentle.value, abs=0.02)


@each_solver
def test_a_search_where_all_diverges_says_so(solver):
    with pytest.raises(DivergedError, match=r"all 3 trials diverged; narrow objective\.bounds"):
        solver().solve(Cliff(), Budget(trials=3), Journal())


class Flat(Bowl):
    """Nothing to gain anywhere, with noise on values and derivatives."""

    def _value(self, u, seed):
        return 0.0 * u.sum() + self._noise * np.random.default_rng(seed).normal()

    def hypergradient(self, u, seed):
        outcome, _ = super().hypergradient(u, seed)
        return outcome, torch.from_numpy(np.random.default_rng(seed).normal(size=2))


def test_a_search_ends_where_further_steps_promise_less_than_the_noise():
    journal = Journal()
    result = HypergradSolver(seed=3, starts=1).solve(Flat(noise=100.0), Budget(trials=500), journal)
    assert result.trials < 30
    many = HypergradSolver(seed=3, starts=3).solve(Flat(noise=100.0), Budget(trials=500), Journal())
    assert many.trials > 2 * result.trials
    assert len(many.finalists) > len(result.finalists)


def test_a_scout_goes_ahead_in_the_same_budget():
    journal = Journal()
    scout = Scout(tpe(seed=1), share=0.5)
    result = HypergradSolver(seed=1, scout=scout).solve(Bowl(), Budget(step_equivalents=300), journal)
    trials = [r for r in journal.records if r.kind == "trial"]
    scouted = [r for r in trials if r.gradient is None]
    assert trials[: len(scouted)] == scouted
    assert 130 <= 2 * len(scouted) <= 140, "half of the nine tenths"
    best = min(scouted, key=lambda r: r.outcome.value)
    assert trials[len(scouted)].params == pytest.approx(best.params)
    assert result.step_equivalents <= 300 + 6
    assert result.value < best.outcome.value


def test_a_category_is_the_scouts_to_choose():
    class Kinds(Bowl):
        """The bowl, one higher unless the kind is `round`."""

        def __init__(self):
            super().__init__()
            self.space = Space([*self.space, Categorical("kind", ("flat", "round", "square"))])
            self.start = torch.tensor([0.2, 0.5, 1 / 6], dtype=torch.float64)

        def _value(self, u, seed):
            kind = self.space.plain(u)["kind"]
            return super()._value(u[:2], seed) + (0.0 if kind == "round" else 1.0)

        def hypergradient(self, u, seed):
            outcome, _ = super().hypergradient(u, seed)
            return outcome, torch.cat([2 * (u[:2] - 0.7), torch.zeros(1, dtype=torch.float64)])

    alone = HypergradSolver().solve(Kinds(), Budget(trials=40), Journal())
    assert alone.params["kind"] == "flat", "it has no derivative"
    both = HypergradSolver(scout=Scout(tpe(seed=0), 0.5)).solve(Kinds(), Budget(trials=80), Journal())
    assert both.params["kind"] == "round"
    assert both.value < 0.01


def test_a_budget_without_an_outer_step_is_refused_before_anything_is_spent():
    class Dear(Bowl):
        def forecast(self):
            return Namespace(step_equivalents=6.0)

    problem = Dear()
    with pytest.raises(ConfigError, match=r"search\.step_equivalents: 12, too few for the 2 hypergradients"):
        HypergradSolver().solve(problem, Budget(step_equivalents=12), Journal())
    with pytest.raises(ConfigError, match=r"search\.trials: 1, but an outer step takes 2 hypergradients"):
        HypergradSolver().solve(problem, Budget(trials=1), Journal())
    assert not problem.calls
    HypergradSolver().solve(problem, Budget(step_equivalents=14), Journal())


def test_seconds_that_end_before_an_outer_step_give_the_recipe_and_say_so(capsys):
    problem = Bowl()
    result = HypergradSolver().solve(problem, Budget(seconds=1e-9), Journal())
    assert result.params == problem.space.plain(problem.start)
    assert "ended after 1 trials, before the first outer step" in capsys.readouterr().err


def test_the_mean_of_the_path_is_a_finalist():
    journal = Journal()
    result = HypergradSolver(seed=1, starts=1).solve(Bowl(noise=0.01), Budget(trials=40), journal)
    numbers = {f["number"] for f in result.finalists}
    assert {0, result.trials} < numbers, "the recipe, the mean, the best trial"
    assert len(numbers) == 3


class Rates(Bowl):
    """The bowl, its second coordinate a learning rate that is far too high in the recipe."""

    def __init__(self):
        super().__init__()
        self.space = Space([Float("x", 0.0, 1.0), Float("lr@head", 1e-5, 1e-1, log=True)])
        self.start = torch.tensor([0.2, 0.95], dtype=torch.float64)


def test_lower_learning_rates_are_tried_before_the_first_descent():
    problem, journal = Rates(), Journal()
    result = HypergradSolver().solve(problem, Budget(trials=40), journal)
    recipe = problem.space.plain(problem.start)
    tried = [r.params["lr@head"] / recipe["lr@head"] for r in journal.records[:3]]
    assert tried == pytest.approx([1.0, 1 / 3, 1 / 10])
    assert all(r.gradient is None and r.params["x"] == recipe["x"] for r in journal.records[:3])
    assert journal.records[3].params == pytest.approx(journal.records[2].params), "the best of them"
    assert journal.records[3].gradient is not None
    assert result.value < 0.01
    assert 0 in {f["number"] for f in result.finalists}
    part = Journal()
    part.starts, part.records = journal.starts[:2], journal.records[:1]
    again = HypergradSolver().solve(Rates(), Budget(trials=40), part)
    assert (again.params, part.starts) == (result.params, journal.starts), "a trial that was interrupted is run again"
    with pytest.raises(ConfigError, match="after 3 trials of learning rates; allowed: at least 5"):
        HypergradSolver().solve(Rates(), Budget(trials=4), Journal())
