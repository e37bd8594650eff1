"""Sessions, through every solver: budgets, resuming, checks of derivatives, the last choice."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from metaft.config.schema import FinalChoice, HypergradConfig
from metaft.errors import ConfigError, DivergedError, OutOfMemoryError
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.lines import Record
from metaft.search.outcome import Outcome
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.solvers.session import finalists, ranked
from tests.search.modes import each_solver, uniform
from tests.search.problems import Bowl, Cliff, Ripening


@each_solver
def test_recipe_first_and_better_in_the_end(solver):
    problem, journal = Bowl(), Journal()
    result = solver(seed=1).solve(problem, Budget(trials=40), journal)
    assert problem.calls[0][1] == problem.space.plain(problem.start)
    assert result.trials == 40
    start = float(problem._value(problem.start, 0))
    assert result.value < start / 3
    assert result.value == pytest.approx(float(problem._value(problem.space.to_unit(result.params), 0)))


@each_solver
def test_seeds_of_trials_and_finals_are_all_different_uses(solver):
    problem = Bowl()
    solver(seed=1, final=FinalChoice(candidates=3, final_share=0.5)).solve(problem, Budget(trials=5), Journal())
    trials, finals = problem.calls[:5], problem.calls[5:]
    assert len({seed for _, _, seed in trials}) == 5
    assert len({seed for _, _, seed in finals}) == (5 if solver is HypergradSolver else 1)
    assert not {s for *_, s in trials} & {s for *_, s in finals}
    assert all(kind == "evaluate" for kind, *_ in finals)
    assert problem.calls[0][1] in [params for _, params, _ in finals], "the recipe is a finalist"


def test_a_lucky_trial_is_not_chosen():
    """With noise the least single value is luck; the mean over fresh seeds decides."""
    problem, journal = Bowl(noise=1.0), Journal()
    result = uniform(seed=0, final=FinalChoice(candidates=10, final_share=0.85)).solve(
        problem, Budget(trials=60), journal
    )
    luckiest = min((r for r in journal.records if r.kind == "trial"), key=lambda r: r.outcome.value)
    assert result.params != luckiest.params
    assert float(Bowl()._value(problem.space.to_unit(result.params), 0)) < 0.15


@each_solver
@pytest.mark.parametrize("limit", ["trials", "step_equivalents"])
def test_budgets_hold_with_the_last_choice_inside(solver, limit):
    problem = Bowl()
    result = solver(final=FinalChoice(candidates=2, final_share=0.2)).solve(problem, Budget(**{limit: 60}), Journal())
    assert (result.trials if limit == "trials" else result.step_equivalents) <= 60 + 6


def test_seconds_end_a_search():
    result = uniform().solve(Bowl(), Budget(seconds=0.05), Journal())
    assert 1 <= result.trials < 10_000


@each_solver
@pytest.mark.parametrize("budget", [Budget(trials=12), Budget(step_equivalents=60)], ids=["trials", "steps"])
@pytest.mark.parametrize("kept", [1, 2, 7, 12, 13])
def test_resumed_equals_uninterrupted(solver, kept, budget, tmp_path):
    final = FinalChoice(candidates=2, final_share=0.4)
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
    assert [r.kind for r in Journal(tmp_path / "t.jsonl").records] == ["trial"] * 3


def test_the_last_choice_has_its_share():
    assert finalists(FinalChoice(candidates=8, final_share=0.1), 100) == (8, 1)
    assert finalists(FinalChoice(candidates=8, final_share=0.1), 45) == (4, 1), (
        "fewer candidates where the share is small"
    )
    assert finalists(FinalChoice(candidates=4, final_share=0.2), 100) == (4, 5)
    assert finalists(FinalChoice(candidates=4, final_share=0.2), 3) == (1, 1), "the best and the recipe at least"
    journal = Journal()
    uniform(final=FinalChoice(candidates=3, final_share=0.25)).solve(Bowl(), Budget(trials=36), journal)
    assert sum(r.kind == "final" for r in journal.records) == 12


@each_solver
def test_a_search_where_all_diverges_says_so(solver):
    with pytest.raises(DivergedError, match=r"all 3 trials diverged; narrow objective\.bounds"):
        solver().solve(Cliff(), Budget(trials=3), Journal())


class Holed(Bowl):
    """Where x is below 0.5, as at the recipe, the value is another than one to search by, and nothing says so."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._there = value

    def _value(self, u, seed):
        return super()._value(u, seed) if u[0] >= 0.5 else u.sum() * 0 + self._there


@each_solver
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e305])
def test_values_that_are_none_are_left_behind(solver, value, tmp_path):
    journal = Journal(tmp_path / "t.jsonl")
    result = solver(seed=1).solve(Holed(value), Budget(trials=60), journal)
    assert result.params["x"] >= 0.5
    assert result.value < 0.2
    assert journal.records[0].outcome.status == "diverged"
    again = Journal(tmp_path / "t.jsonl")
    assert [r.outcome.value for r in again.records] == [r.outcome.value for r in journal.records]


class Starved(Bowl):
    """No run finds the memory that it takes."""

    def evaluate(self, params, seed, report=None):
        raise MemoryError("9 GiB")

    def hypergradient(self, u, seed):
        raise MemoryError("9 GiB")


@each_solver
def test_a_search_without_memory_says_so(solver):
    said = r"memory ran out in all 3 trials \(the last: MemoryError: 9 GiB\); allowed: more memory, or a smaller"
    with pytest.raises(OutOfMemoryError, match=said):
        solver().solve(Starved(), Budget(trials=3), Journal())


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
    result = HypergradSolver(settings=HypergradConfig(check_every=4)).solve(problem, Budget(trials=10), journal)
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
    HypergradSolver(settings=HypergradConfig(check_every=1)).solve(Bowl(), Budget(trials=3), journal)
    assert {r.kind for r in journal.records} == {"trial", "final"}


RIPE = Budget(step_equivalents=200)


@each_solver
def test_finalists_are_chosen_by_what_fine_tunes_make_of_them(solver):
    """Short runs lead to low rates; fine-tunes tell a higher one, and half of the way."""
    problem, journal = Ripening(), Journal()
    result = solver(seed=3, final=FinalChoice(final_share=0.5)).solve(problem, RIPE, journal)
    trials = [r for r in journal.records if r.kind == "trial"]
    short = min(trials, key=lambda r: r.outcome.value)
    assert result.params["alpha"] == 0.5
    assert result.params["head"] == "b"
    assert result.params["lr"] >= 2.9 * short.params["lr"]
    judged = problem.become(result.params, 0, 1.0), problem.become(result.params, 1, 1.0)
    assert result.value == pytest.approx(sum(o.value for o in judged) / 2)
    assert result.step_equivalents <= 200 + 6


@each_solver
def test_rungs_halve_and_every_part_judges(solver):
    problem = Ripening()
    solver(seed=3, final=FinalChoice(final_share=0.7)).solve(problem, Budget(step_equivalents=300), Journal())
    rungs: dict[str, list] = {}
    for kind, params, seed in problem.calls:
        if kind.startswith("become"):
            rungs.setdefault(kind, []).append((tuple(params.values()), seed))
    sizes = [len({point for point, _ in calls}) for calls in rungs.values()]
    assert len(sizes) >= 2
    assert all(after == -(-before // 2) for before, after in pairwise(sizes))
    for calls in rungs.values():
        seeds = {seed for _, seed in calls}
        assert sorted(seed % 2 for seed in seeds) == [0, 1]
        assert len(calls) == 2 * len({point for point, _ in calls})


@each_solver
def test_suggestions_are_tried_on_the_recipes_batches_and_every_part_judges(solver):
    problem, journal = Ripening(), Journal()
    solver(seed=3).solve(problem, RIPE, journal)
    trials = [r for r in journal.records if r.kind == "trial"]
    for fold in (0, 1):
        judged = trials[fold:6:2]
        assert [r.params for r in judged] == [problem.space.plain(problem.start), *problem.suggestions()]
        assert len({r.seed for r in judged}) == 1, "the same batches"
    assert len(trials) > 12
    assert [r.seed % 2 for r in trials] == [r.number % 2 for r in trials]


@each_solver
@pytest.mark.parametrize("kept", [1, 4, 9, 30, 45])
def test_a_ripening_search_is_resumed(solver, kept, tmp_path):
    final = FinalChoice(final_share=0.5)
    whole = Journal(tmp_path / "whole.jsonl")
    expected = solver(seed=5, final=final).solve(Ripening(), RIPE, whole)
    part = tmp_path / "part.jsonl"
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    part.write_text("".join(lines[: 1 + kept]))
    result = solver(seed=5, final=final).solve(Ripening(), RIPE, Journal(part))
    assert (result.params, result.value) == (expected.params, expected.value)
    assert Journal(part).records == whole.records


def test_a_budget_in_trials_leaves_no_fine_tunes():
    problem = Ripening()
    uniform(seed=3).solve(problem, Budget(trials=12), Journal())
    assert {kind for kind, *_ in problem.calls} == {"evaluate"}


def test_few_trials_leave_out_suggestions():
    problem, journal = Ripening(), Journal()
    HypergradSolver(seed=3).solve(problem, Budget(trials=8), journal)
    trials = [r for r in journal.records if r.kind == "trial"]
    assert [r.gradient is None for r in trials] == [True] * 6 + [False] * 2
    recipe, slower, slowest = (r.params["lr"] for r in trials[0:6:2])
    assert recipe > slower > slowest, "the recipe and lower rates alone"
    assert [r.params for r in trials[0:6:2]] == [r.params for r in trials[1:6:2]], "each judged by both parts"
    with pytest.raises(ConfigError, match="after 6 trials of starting points; allowed: at least 8"):
        HypergradSolver(seed=3).solve(problem, Budget(trials=7), Journal())


def trial(number, x, value):
    return Record("trial", number, {"x": x}, number, Outcome(value, 0.5, value, 1, 1.0, 0.0))


def test_points_are_ranked_by_the_mean_of_their_values():
    """The best single value does not lead, and one that is not finite ends a point's chances."""
    trials = [trial(0, 0.1, 1.0), trial(1, 0.1, 9.0), trial(2, 0.2, 4.0), trial(3, 0.2, 4.0)]
    trials += [trial(4, 0.3, 0.0), trial(5, 0.3, math.inf), trial(6, 0.4, 4.5)]
    assert [point["x"] for point in ranked(trials)] == [0.2, 0.4, 0.1, 0.3]
