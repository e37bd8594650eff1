"""Executors: the same results as one process, whatever the order in which trials end and whoever dies."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from metaft.search.bilevel import Budget
from metaft.search.blackbox import BlackBoxSolver
from metaft.search.executors.registry import EXECUTORS, Place
from metaft.search.executors.work import WorkerError
from metaft.search.journal import Journal
from metaft.search.random import Uniform
from metaft.search.tpe import TPE
from tests.search.problems import Bowl, Faulty, Mortal, Sleeper

ROOT = Path(__file__).parent.parent.parent


def bowl(device: str) -> Bowl:
    return Bowl(noise=0.1)


def mortal(folder: Path, always: bool, device: str) -> Bowl:
    return Mortal(folder, always)


def faulty(error: type[Exception], device: str) -> Bowl:
    return Faulty(error)


def unmakeable(device: str) -> Bowl:
    from metaft.errors import DataError

    raise DataError(f"no data for {device}")


def on(executor: str, factory, workers: int = 2):
    place = Place(factory, workers)
    return lambda problem: EXECUTORS[executor].make(problem, place)


def trials(journal: Journal) -> list:
    return sorted((r for r in journal.records if r.kind == "trial"), key=lambda r: r.number)


def test_processes_give_what_one_process_gives():
    here, there = Journal(), Journal()
    one = BlackBoxSolver(Uniform).solve(Bowl(noise=0.1), Budget(trials=9), here)
    other = BlackBoxSolver(Uniform, executor=on("processes", bowl)).solve(Bowl(), Budget(trials=9), there)
    assert trials(here) == trials(there)
    assert (one.params, one.value, one.finalists) == (other.params, other.value, other.finalists)
    assert len(there.starts) == 9


def test_a_worker_may_die_once(tmp_path, capsys):
    journal, plain = Journal(), Journal()
    factory = partial(mortal, tmp_path, False)
    BlackBoxSolver(Uniform, executor=on("processes", factory)).solve(Bowl(), Budget(trials=10), journal)
    BlackBoxSolver(Uniform).solve(Bowl(), Budget(trials=10), plain)
    died = [lost.number for lost in journal.lost if lost.kind == "trial"]
    assert died
    assert sorted(died) == [r.number for r in trials(plain) if r.params["x"] > 0.8]
    assert trials(journal) == trials(plain), "the second try gave what the first would have"
    assert f"the worker of trial {died[0]} died" in capsys.readouterr().err


def test_a_trial_that_kills_twice_is_bad_and_nothing_else_is_lost(tmp_path):
    journal = Journal(tmp_path / "t.jsonl")
    factory = partial(mortal, tmp_path, True)
    result = BlackBoxSolver(TPE, executor=on("processes", factory)).solve(Bowl(), Budget(trials=16), journal)
    lost = [r for r in trials(journal) if r.outcome.status == "lost"]
    assert lost
    assert all(r.params["x"] > 0.8 for r in lost)
    assert lost[0].outcome.reason == "its worker died 2 times"
    assert len(journal.lost) == 2 * len(lost)
    assert len(trials(journal)) == 16
    assert result.params["x"] <= 0.8


def test_unfinished_trials_run_again_on_resuming(tmp_path):
    path = tmp_path / "t.jsonl"
    solver = BlackBoxSolver(TPE, executor=on("processes", bowl))
    solver.solve(Bowl(noise=0.1), Budget(trials=8), Journal(path))
    lines = path.read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if '"kind": "trial"' in line]
    whole = Journal(path, read_only=True)
    path.write_text("".join(line for i, line in enumerate(lines[: ends[5]]) if i != ends[2]))
    resumed = Journal(path)
    solver.solve(Bowl(noise=0.1), Budget(trials=8), resumed)
    begun = [s for s in whole.starts if s in resumed.starts]
    assert len(begun) >= 6
    known = {r.number: r for r in trials(whole)}
    assert all(r == known[r.number] for r in trials(resumed) if r.number in {s.number for s in begun})
    assert [r.number for r in trials(resumed)] == list(range(8))


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_failures_are_alike_everywhere(executor):
    journal = Journal()
    make = on(executor, partial(faulty, ArithmeticError))
    BlackBoxSolver(Uniform, executor=make).solve(Faulty(ArithmeticError), Budget(trials=8), journal)
    assert {r.outcome.reason for r in trials(journal) if r.params["x"] > 0.8} == {"ArithmeticError: no luck"}


def test_errors_of_a_worker_are_raised_here():
    with pytest.raises(WorkerError, match="no data for cpu") as caught:
        BlackBoxSolver(Uniform, executor=on("processes", unmakeable)).solve(Bowl(), Budget(trials=4), Journal())
    assert caught.value.exit_code == 3
    with pytest.raises(RuntimeError, match=r"(?s)in a worker:.*TypeError: no luck"):
        BlackBoxSolver(Uniform, executor=on("processes", partial(faulty, TypeError))).solve(
            Bowl(), Budget(trials=30), Journal()
        )


RAY = """
import sys
from functools import partial
from pathlib import Path
import tests.search.test_executors as t

journal, plain = t.Journal(), t.Journal()
factory = partial(t.mortal, Path(sys.argv[1]), False)
with_ray = t.BlackBoxSolver(t.Uniform, executor=t.on("ray", factory, workers=3))
result = with_ray.solve(t.Bowl(), t.Budget(trials=10), journal)
expected = t.BlackBoxSolver(t.Uniform).solve(t.Bowl(), t.Budget(trials=10), plain)
assert t.trials(journal) == t.trials(plain)
assert (result.params, result.value) == (expected.params, expected.value)
assert journal.lost
try:
    t.BlackBoxSolver(t.Uniform, executor=t.on("ray", t.unmakeable)).solve(t.Bowl(), t.Budget(trials=4), t.Journal())
except t.WorkerError as error:
    assert error.exit_code == 3
    print("as in one process")
"""


def test_ray_gives_what_one_process_gives(tmp_path):
    """In a process of its own: Ray warns and leaves threads behind."""
    run = subprocess.run(
        [sys.executable, "-c", RAY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "as in one process" in run.stdout


def test_waiting_is_shared():
    """Four workers that sleep are together faster than one (by how much is measured in benchmarks/executors.py)."""
    journal = Journal()
    place = Place(partial(_sleeper, 0.5), 4)
    make = lambda problem: EXECUTORS["processes"].make(problem, place)  # noqa: E731
    BlackBoxSolver(Uniform, executor=make).solve(Bowl(), Budget(trials=4), journal)
    clocks = [r.clock for r in trials(journal)]
    assert max(clocks) - min(clocks) < 1.4, "they ended together, not one after the other"


def _sleeper(seconds: float, device: str) -> Bowl:
    return Sleeper(seconds)
