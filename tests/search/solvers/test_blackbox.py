"""Search by values: failing trials, hopeless ones, and what is known from earlier searches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from metaft.errors import DataError, DivergedError, OutOfMemoryError
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.sampler import RUNNING, History
from metaft.search.solvers.blackbox import BlackBoxSolver, recorded
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE
from metaft.space import Float, Space
from tests.search.modes import tpe, uniform
from tests.search.problems import Bowl, Faulty, Slow


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


@pytest.mark.parametrize("solver", [uniform, HypergradSolver], ids=["uniform", "hypergrad"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("9 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_trials_without_memory_are_bad_ones(solver, error):
    """Each is told as such, and a search in which every one is goes on no longer than it must."""

    class Full(Bowl):
        room = 3

        def _value(self, u, seed):
            if len(self.calls) > self.room:
                raise error
            return super()._value(u, seed)

    journal = Journal()
    with pytest.raises(
        OutOfMemoryError, match=r"10 trials in a row failed \(the last: .*allocate|GiB.*allowed: smaller"
    ):
        solver().solve(Full(), Budget(trials=100), journal)
    statuses = [r.outcome.status for r in journal.records if r.kind == "trial"]
    assert statuses == ["ok"] * Full.room + ["oom"] * 10


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
    assert max(r.clock for r in journal.records[:60]) < min(r.clock for r in journal.records[60:]), "it takes no time"
    earlier.unlink()
    resumed = warm.solve(Bowl(), Budget(trials=8), Journal(tmp_path / "t.jsonl"))
    assert resumed.params == result.params, "the journal keeps what it started from"


def test_a_warm_start_that_was_interrupted_is_made_whole(tmp_path):
    """As it is put into the journal, of which an interruption may leave the first lines alone."""
    earlier, path = tmp_path / "earlier.jsonl", tmp_path / "t.jsonl"
    uniform(seed=3).solve(Bowl(), Budget(trials=12), Journal(earlier))
    whole = tpe(seed=0, warm_start=earlier).solve(Bowl(), Budget(trials=4), Journal(path))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    part = Journal(path)
    assert [r.kind for r in part.records] == ["prior"] * 5
    assert tpe(seed=0, warm_start=earlier).solve(Bowl(), Budget(trials=4), part).params == whole.params
    assert [r.kind for r in part.records[:13]] == [*["prior"] * 12, "trial"]


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
