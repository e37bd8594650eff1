"""Search by hypergradients on a problem with a known answer: explosions, starts, scouts, budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metaft.config.schema import FinalChoice, HypergradConfig
from metaft.errors import ConfigError
from metaft.search.bilevel import Budget, Forecast
from metaft.search.journal import Journal
from metaft.search.solvers.hypergrad import HypergradSolver, Scout
from metaft.space import Categorical, Float, Space
from tests.search.modes import tpe
from tests.search.problems import Bowl

TENTH = FinalChoice(final_share=0.1)


def test_gradients_find_the_bottom():
    result = HypergradSolver().solve(Bowl(), Budget(trials=60), Journal())
    assert [result.params["x"], result.params["y"]] == pytest.approx([0.7, 0.7], abs=0.02)


def test_explosions_are_skipped_counted_and_told(capsys):
    problem, journal = Bowl(bad_seeds=True), Journal()
    result = HypergradSolver(seed=2).solve(problem, Budget(trials=60), journal)
    exploded = sum(r.outcome.status == "diverged" for r in journal.records)
    assert exploded > 5
    assert f"{exploded} of 60 hypergradients exploded" in capsys.readouterr().err
    assert result.value < 0.02


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


class Flat(Bowl):
    """Nothing to gain anywhere, with noise on values and derivatives."""

    def _value(self, u, seed):
        return 0.0 * u.sum() + self._noise * np.random.default_rng(seed).normal()

    def hypergradient(self, u, seed):
        outcome, _ = super().hypergradient(u, seed)
        return outcome, torch.from_numpy(np.random.default_rng(seed).normal(size=2))


def test_a_search_ends_where_further_steps_promise_less_than_the_noise():
    journal = Journal()
    result = HypergradSolver(seed=3, settings=HypergradConfig(starts=1)).solve(
        Flat(noise=100.0), Budget(trials=500), journal
    )
    assert result.trials < 30
    many = HypergradSolver(seed=3, settings=HypergradConfig(starts=3)).solve(
        Flat(noise=100.0), Budget(trials=500), Journal()
    )
    assert many.trials > 2 * result.trials
    assert len(many.finalists) > len(result.finalists)


def test_a_scout_goes_ahead_in_the_same_budget():
    journal = Journal()
    scout = Scout(tpe(seed=1), share=0.5)
    result = HypergradSolver(seed=1, final=TENTH, scout=scout).solve(Bowl(), Budget(step_equivalents=300), journal)
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
            return Forecast(6.0)

    problem = Dear()
    with pytest.raises(ConfigError, match=r"search\.step_equivalents: 12, too few for the 2 hypergradients"):
        HypergradSolver(final=TENTH).solve(problem, Budget(step_equivalents=12), Journal())
    with pytest.raises(ConfigError, match=r"search\.trials: 1, but an outer step takes 2 hypergradients"):
        HypergradSolver(final=TENTH).solve(problem, Budget(trials=1), Journal())
    assert not problem.calls
    HypergradSolver(final=TENTH).solve(problem, Budget(step_equivalents=14), Journal())


def test_seconds_that_end_before_an_outer_step_give_the_recipe_and_say_so(capsys):
    problem = Bowl()
    result = HypergradSolver().solve(problem, Budget(seconds=1e-9), Journal())
    assert result.params == problem.space.plain(problem.start)
    assert "ended after 1 trials, before the first outer step" in capsys.readouterr().err


def test_the_mean_of_the_path_is_a_finalist():
    journal = Journal()
    result = HypergradSolver(seed=1, settings=HypergradConfig(starts=1)).solve(
        Bowl(noise=0.01), Budget(trials=40), journal
    )
    numbers = {f["number"] for f in result.finalists}
    assert {0, result.trials} < numbers, "the recipe, the mean, the best trial"
    assert len(numbers) == 3


def test_descents_abreast_begin_at_different_points_and_settle_apart():
    journal = Journal()
    settings = HypergradConfig(starts=3)
    result = HypergradSolver(seed=3, settings=settings, abreast=2).solve(Flat(noise=100.0), Budget(trials=500), journal)
    assert journal.trials[0].params != journal.trials[1].params
    assert 33 <= result.trials < 90, "all three settled"
    assert len(result.finalists) >= 4, "an end of each, and the recipe"


def test_descents_abreast_find_the_bottom_from_each_start():
    journal = Journal()
    result = HypergradSolver(abreast=3).solve(Bowl(), Budget(trials=120), journal)
    assert [result.params["x"], result.params["y"]] == pytest.approx([0.7, 0.7], abs=0.02)
    for trial in journal.trials[-3:]:
        assert list(trial.params.values()) == pytest.approx([0.7, 0.7], abs=0.1)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 5, 6, 12, 13, 14])
def test_descents_abreast_go_on_wherever_they_were_interrupted(kept):
    """A part of what was under way at once may be missing, the first of it too."""
    budget, whole = Budget(trials=13), Journal()
    solver = HypergradSolver(seed=1, abreast=3)
    expected = solver.solve(Bowl(noise=0.1), budget, whole)
    order = sorted(whole.records, key=lambda r: (r.kind != "trial", r.number // 3, -r.number))
    part = Journal()
    part.records = order[:kept]
    found = solver.solve(Bowl(noise=0.1), budget, part)
    assert part.trials == whole.trials
    assert (found.params, found.value, found.finalists) == (expected.params, expected.value, expected.finalists)


def test_every_descent_abreast_has_room_for_its_first_step():
    with pytest.raises(ConfigError, match=r"search\.trials: 5, but an outer step takes 6 hypergradients"):
        HypergradSolver(abreast=3).solve(Bowl(), Budget(trials=5), Journal())


class Rates(Bowl):
    """The bowl, its second coordinate a learning rate that is far too high in the recipe."""

    def __init__(self):
        super().__init__()
        self.space = Space([Float("x", 0.0, 1.0), Float("lr@head", 1e-5, 1e-1, log=True)])
        self.start = torch.tensor([0.2, 0.95], dtype=torch.float64)


def test_lower_learning_rates_are_tried_before_the_first_descent():
    problem, journal = Rates(), Journal()
    result = HypergradSolver(final=TENTH).solve(problem, Budget(trials=40), journal)
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
    again = HypergradSolver(final=TENTH).solve(Rates(), Budget(trials=40), part)
    assert (again.params, part.starts) == (result.params, journal.starts), "a trial that was interrupted is run again"
    with pytest.raises(ConfigError, match="after 3 trials of starting points; allowed: at least 5"):
        HypergradSolver(final=TENTH).solve(Rates(), Budget(trials=4), Journal())
