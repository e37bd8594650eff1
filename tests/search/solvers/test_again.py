"""A search with a limit in seconds, made again: on another machine too it ends at the same trial."""

from __future__ import annotations

import time

import pytest

from metaft.config.schema import FinalChoice
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver, Scout
from metaft.search.tpe.tpe import TPE
from tests.conftest import by_default
from tests.search.problems import Bowl, Ripening

LIMIT = Budget(seconds=0.4)


class Slowed(Bowl):
    """A bowl on which every run takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(noise=0.1)
        self._seconds = seconds

    def _value(self, u, seed):
        time.sleep(self._seconds)
        return super()._value(u, seed)


class SlowlyRipening(Ripening):
    """Fine-tunes of which as many are granted as the seconds left allow."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def evaluate(self, params, seed, report=None):
        time.sleep(self._seconds)
        return super().evaluate(params, seed, report)


def kept(journal: Journal):
    return [(r.kind, r.number, r.params, r.seed, r.outcome.value, r.clock) for r in journal.records]


@pytest.mark.parametrize(
    "solver",
    [
        BlackBoxSolver(TPE),
        HypergradSolver(),
        HypergradSolver(scout=Scout(BlackBoxSolver(TPE)), final=FinalChoice(final_share=0.2)),
    ],
    ids=["tpe", "hypergrad", "scout"],
)
@pytest.mark.parametrize("problem", by_default((SlowlyRipening,), [Slowed, SlowlyRipening]))
def test_seconds_end_it_where_they_ended_it_before(solver, problem):
    first, again = Journal(), None
    choice = solver.solve(problem(0.004), LIMIT, first)
    for seconds in (0.0, 0.012):
        again = Journal(earlier=first.records)
        repeated = solver.solve(problem(seconds), LIMIT, again)
        assert kept(again) == kept(first)
        assert (repeated.params, repeated.value, repeated.finalists) == (choice.params, choice.value, choice.finalists)


def test_what_goes_on_beyond_it_has_a_clock_of_its_own():
    first = Journal()
    BlackBoxSolver(TPE).solve(Bowl(), Budget(trials=5), first)
    more = Journal(earlier=first.records)
    BlackBoxSolver(TPE).solve(Bowl(), Budget(trials=9), more)
    assert len(more.records) > len(first.records)
