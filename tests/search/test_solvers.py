"""Solvers on a problem with a known answer: budgets, journals, resuming, explosions, the last choice."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from metaft.errors import DataError, DivergedError
from metaft.objective.space import Float, Space
from metaft.search.bilevel import BilevelProblem, Budget, Outcome
from metaft.search.hypergrad import HypergradSolver
from metaft.search.journal import Journal, Record
from metaft.search.random import RandomSolver
from metaft.search.session import FinalChoice
from metaft.search.tpe import TPESolver

SOLVERS = {"hypergrad": HypergradSolver, "tpe": TPESolver, "random": RandomSolver}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


class Bowl:
    """value = |u - 0.7|^2 + noise; an evaluation costs 2 step equivalents, a derivative 6."""

    def __init__(self, noise: float = 0.0, bad_seeds: bool = False) -> None:
        self.space = Space([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)])
        self.start = torch.tensor([0.2, 0.5], dtype=torch.float64)
        self.calls: list[tuple[str, dict[str, Any], int]] = []
        self._noise, self._bad_seeds = noise, bad_seeds

    def _value(self, u: torch.Tensor, seed: int) -> torch.Tensor:
        return (u - 0.7).square().sum() + self._noise * np.random.default_rng(seed).normal()

    def evaluate(self, params: Mapping[str, Any], seed: int, report=None) -> Outcome:
        self.calls.append(("evaluate", dict(params), seed))
        value = float(self._value(self.space.to_unit(params), seed))
        return Outcome(value, 0.5, value, 2, 2.0, 0.0)

    def hypergradient(self, u: torch.Tensor, seed: int) -> tuple[Outcome, torch.Tensor]:
        self.calls.append(("hypergradient", self.space.plain(u), seed))
        if self._bad_seeds and seed % 3 == 0:
            return Outcome(math.nan, 0.0, math.inf, 2, 6.0, 0.0, "diverged"), torch.full((2,), math.nan)
        leaf = u.clone().requires_grad_()
        value = self._value(leaf, seed)
        return Outcome(value.item(), 0.5, value.item(), 2, 6.0, 0.0), torch.autograd.grad(value, leaf)[0]


class Cliff(Bowl):
    """Every run diverges."""

    def _value(self, u, seed):
        return super()._value(u, seed) * math.nan

    def evaluate(self, params, seed, report=None):
        return Outcome(math.nan, 0.0, math.inf, 2, 2.0, 0.0, "diverged")

    def hypergradient(self, u, seed):
        return self.evaluate({}, seed), torch.full((2,), math.nan)


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
    solver(seed=1, final=FinalChoice(3, 2)).solve(problem, Budget(trials=5), Journal())
    trials, finals = problem.calls[:5], problem.calls[5:]
    assert len({seed for _, _, seed in trials}) == 5
    assert len({seed for _, _, seed in finals}) == 2
    assert not {s for *_, s in trials} & {s for *_, s in finals}
    assert all(kind == "evaluate" for kind, *_ in finals)
    assert problem.calls[0][1] in [params for _, params, _ in finals], "the recipe is a finalist"


def test_a_lucky_trial_is_not_chosen():
    """With noise the least single value is luck; the mean over fresh seeds decides."""
    problem, journal = Bowl(noise=1.0), Journal()
    result = RandomSolver(seed=0, final=FinalChoice(10, 30)).solve(problem, Budget(trials=60), journal)
    luckiest = min((r for r in journal.records if r.kind == "trial"), key=lambda r: r.outcome.value)
    assert result.params != luckiest.params
    assert float(Bowl()._value(problem.space.to_unit(result.params), 0)) < 0.15


@each_solver
@pytest.mark.parametrize("limit", ["trials", "step_equivalents"])
def test_budgets_hold_with_the_last_choice_inside(solver, limit):
    problem = Bowl()
    result = solver(final=FinalChoice(2, 2)).solve(problem, Budget(**{limit: 60}), Journal())
    assert (result.trials if limit == "trials" else result.step_equivalents) <= 60 + 6


def test_seconds_end_a_search():
    result = RandomSolver().solve(Bowl(), Budget(seconds=0.05), Journal())
    assert 1 <= result.trials < 10_000


@each_solver
@pytest.mark.parametrize("kept", [1, 7, 12])
def test_resumed_equals_uninterrupted(solver, kept, tmp_path):
    final, budget = FinalChoice(2, 2), Budget(trials=12)
    whole = Journal(tmp_path / "whole.jsonl")
    expected = solver(seed=5, final=final).solve(Bowl(noise=0.1), budget, whole)
    part = tmp_path / "part.jsonl"
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    part.write_text("".join(lines[: 1 + kept]))
    result = solver(seed=5, final=final).solve(Bowl(noise=0.1), budget, Journal(part))
    assert (result.params, result.value) == (expected.params, expected.value)
    assert Journal(part).records == whole.records


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
    assert len(Journal(tmp_path / "t.jsonl").records) == 3


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


def record(number: int = 0) -> Record:
    return Record(
        "trial", number, {"x": 0.1}, 7, Outcome(math.nan, 0.0, math.inf, 1, 1.0, 0.0, "diverged"), (math.nan, 1.0)
    )


def test_journal_holds_what_json_cannot(tmp_path):
    path = tmp_path / "t.jsonl"
    Journal(path).append(record())
    (read,) = Journal(path).records
    assert read.outcome.value == math.inf
    assert math.isnan(read.gradient[0])
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_torn_last_line_is_cut_and_told(tmp_path, capsys):
    path = tmp_path / "t.jsonl"
    journal = Journal(path)
    journal.append(record(0))
    journal.append(record(1))
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal(path)
    assert [r.number for r in again.records] == [0]
    assert "cut off an unfinished last line" in capsys.readouterr().err
    again.append(record(1))
    assert [r.number for r in Journal(path).records] == [0, 1]


@pytest.mark.parametrize("text", ['{"version": 9}\n', '{"version": 1}\n{"kind": 3}\n', "nonsense\n", "[]\n"])
def test_a_damaged_journal_is_refused(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="allowed"):
        Journal(path)
