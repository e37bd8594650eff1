"""Executors: the same results as one process, whatever the order in which trials end and whoever dies."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from metaft import config
from metaft.build.check import faults_of
from metaft.errors import ClusterError
from metaft.inner import storage
from metaft.search.bilevel import Budget
from metaft.search.executors.registry import EXECUTORS, Place
from metaft.search.executors.work import WorkerError
from metaft.search.journal import Journal
from metaft.search.lines import SUM, Line, Start, made, parsed
from metaft.search.random import Uniform
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE
from tests.conftest import by_default
from tests.search.problems import Bowl, Faulty, bowl, faulty, mortal, sleeper, unmakeable

ROOT = Path(__file__).parent.parent.parent


def on(executor: str, factory, workers: int = 2):
    place = Place(factory, workers)
    return lambda problem: EXECUTORS[executor].make(problem, place)


def trials(journal: Journal) -> list:
    return sorted((r for r in journal.records if r.kind == "trial"), key=lambda r: r.number)


def seed_with_one_death(trials: int) -> int:
    """A seed of which one of the first random points lies where `mortal` dies."""
    for seed in range(100):
        journal = Journal()
        BlackBoxSolver(Uniform, seed=seed).solve(Bowl(), Budget(trials=trials), journal)
        if sum(r.params["x"] > 0.8 for r in journal.records if r.kind == "trial") == 1:
            return seed
    raise AssertionError("no such seed")


def test_processes_give_what_one_process_gives():
    here, there = Journal(), Journal()
    one = BlackBoxSolver(Uniform).solve(Bowl(noise=0.1), Budget(trials=9), here)
    other = BlackBoxSolver(Uniform, executor=on("processes", bowl)).solve(Bowl(), Budget(trials=9), there)
    assert trials(here) == trials(there)
    assert (one.params, one.value, one.finalists) == (other.params, other.value, other.finalists)
    assert len(there.starts) == 9


@pytest.mark.full
@pytest.mark.parametrize(("trial_count", "workers"), [(5, 1), (10, 2)])
def test_a_worker_may_die_once(tmp_path, capsys, trial_count, workers):
    journal, plain, budget = Journal(), Journal(), Budget(trials=trial_count)
    executor = on("processes", partial(mortal, tmp_path, False), workers)
    seed = seed_with_one_death(trial_count) if workers == 1 else 0
    BlackBoxSolver(Uniform, seed=seed, executor=executor).solve(Bowl(), budget, journal)
    BlackBoxSolver(Uniform, seed=seed).solve(Bowl(), budget, plain)
    died = [lost.number for lost in journal.lost if lost.kind == "trial"]
    assert died
    assert sorted(died) == [r.number for r in trials(plain) if r.params["x"] > 0.8]
    assert trials(journal) == trials(plain), "the second try gave what the first would have"
    assert f"the worker of trial {died[0]} died" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize(
    ("sampler", "trial_count", "workers"),
    [(Uniform, 5, 1), pytest.param(TPE, 16, 2, marks=pytest.mark.full)],
    ids=["random", "tpe"],
)
def test_a_trial_that_kills_twice_is_bad_and_nothing_else_is_lost(tmp_path, sampler, trial_count, workers):
    journal = Journal(tmp_path / "t.jsonl")
    executor = on("processes", partial(mortal, tmp_path, True), workers)
    seed = seed_with_one_death(trial_count) if sampler is Uniform else 0
    result = BlackBoxSolver(sampler, seed=seed, executor=executor).solve(Bowl(), Budget(trials=trial_count), journal)
    lost = [r for r in trials(journal) if r.outcome.status == "lost"]
    assert lost
    assert all(r.params["x"] > 0.8 for r in lost)
    assert lost[0].outcome.reason == "its worker died 2 times"
    assert len(journal.lost) == 2 * len(lost)
    assert len(trials(journal)) == trial_count
    assert result.params["x"] <= 0.8


def descents(executor: str, factory, workers: int, abreast: int = 2) -> HypergradSolver:
    return HypergradSolver(executor=on(executor, factory, workers), abreast=abreast)


@pytest.mark.parametrize("workers", by_default([2], [1, 2, 3]))
def test_descents_abreast_are_the_same_on_any_number_of_workers(workers):
    here, there = Journal(), Journal()
    one = HypergradSolver(abreast=2).solve(Bowl(noise=0.1), Budget(trials=15), here)
    other = descents("processes", bowl, workers).solve(Bowl(), Budget(trials=15), there)
    assert trials(here) == trials(there)
    assert (one.params, one.value, one.finalists) == (other.params, other.value, other.finalists)


@pytest.mark.full
def test_a_hypergradient_that_kills_twice_is_an_explosion(tmp_path, capsys):
    journal, executor = Journal(), descents("processes", partial(mortal, tmp_path, True), workers=1, abreast=4)
    problem = Bowl()
    problem.start[0] = 0.75
    result = executor.solve(problem, Budget(trials=8), journal)
    lost = [r for r in trials(journal) if r.outcome.status == "lost"]
    assert lost
    assert all(r.params["x"] > 0.8 and all(map(math.isnan, r.gradient)) for r in lost)
    assert [r.number for r in trials(journal)] == list(range(8))
    assert f"{len(lost)} of 8 hypergradients exploded" in capsys.readouterr().err
    assert result.params["x"] <= 0.8


def line_of(line: bytes) -> Line:
    return made({key: value for key, value in parsed(line).items() if key != SUM})


@pytest.mark.parametrize("first", ["serial", pytest.param("processes", marks=pytest.mark.full)])
def test_unfinished_trials_run_again_on_resuming(tmp_path, first):
    path = tmp_path / "t.jsonl"
    solver = BlackBoxSolver(TPE, executor=on("processes", bowl))
    replace(solver, executor=on(first, bowl)).solve(Bowl(noise=0.1), Budget(trials=8), Journal(path))
    lines = path.read_bytes().splitlines()
    ends = [i for i, line in enumerate(lines) if b'"kind": "trial"' in line]
    whole, resumed = Journal(path, read_only=True), Journal(tmp_path / "resumed.jsonl")
    resumed.bind(Bowl().space)
    for i, line in enumerate(lines[: ends[5]]):
        found = None if i in (0, 1, ends[2]) else line_of(line)
        if found is not None:
            (resumed.start if isinstance(found, Start) else resumed.append)(found)
    solver.solve(Bowl(noise=0.1), Budget(trials=8), resumed)
    begun = [s for s in whole.starts if s in resumed.starts]
    assert len(begun) >= 6
    known = {r.number: r for r in trials(whole)}
    assert all(r == known[r.number] for r in trials(resumed) if r.number in {s.number for s in begun})
    assert [r.number for r in trials(resumed)] == list(range(8))


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_failures_are_alike_everywhere(executor):
    journal = Journal()
    make = on(executor, partial(faulty, ArithmeticError), workers=1)
    BlackBoxSolver(Uniform, executor=make).solve(Faulty(ArithmeticError), Budget(trials=8), journal)
    assert {r.outcome.reason for r in trials(journal) if r.params["x"] > 0.8} == {"ArithmeticError: no luck"}


@pytest.mark.full
def test_errors_of_a_worker_are_raised_here():
    executor = on("processes", unmakeable, workers=1)
    with pytest.raises(WorkerError, match="no data for cpu") as caught:
        BlackBoxSolver(Uniform, executor=executor).solve(Bowl(), Budget(trials=4), Journal())
    assert caught.value.exit_code == 3
    executor = on("processes", partial(faulty, TypeError), workers=1)
    with pytest.raises(RuntimeError, match=r"(?s)in a worker:.*TypeError: no luck"):
        BlackBoxSolver(Uniform, executor=executor).solve(Bowl(), Budget(trials=30), Journal())


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


class RayError(Exception):
    """What Ray raises for an actor that died."""


class StubActor:
    def __init__(self, worker) -> None:
        self._worker = worker
        self.perform = SimpleNamespace(remote=lambda job: partial(self.do, job))
        self.__ray_ready__ = SimpleNamespace(remote=lambda: partial(bool, self))

    def do(self, job):
        try:
            return self._worker.perform(job)
        except SystemExit:
            raise RayError from None


class StubRay:
    """As much of Ray as the executor uses, in this process; an actor dies by SystemExit."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.running, self.made, self.killed = False, 0, 0

    def is_initialized(self):
        return self.running

    def init(self, **options):
        self.running = True

    def shutdown(self):
        self.running = False

    def remote(self, kind):
        def make_actor(*given):
            self.made += 1
            return StubActor(kind(*given))

        return SimpleNamespace(remote=make_actor)

    def wait(self, jobs, num_returns, timeout):
        return jobs[-num_returns:], jobs[:-num_returns]  # the last begun ends first

    def nodes(self):
        return [{"Alive": True}]

    def cluster_resources(self):
        return {"CPU": 2.0}

    def get(self, ended):
        return ended()

    def kill(self, actor):
        self.killed += 1


def test_ray_workers_give_what_one_process_gives(tmp_path, monkeypatch):
    """With a stub in Ray's place: order, deaths and errors are the executor's to handle."""
    stub = StubRay()
    monkeypatch.setitem(sys.modules, "ray", stub)
    monkeypatch.setattr("tests.search.problems.os._exit", sys.exit)
    journal, plain = Journal(), Journal()
    executor = on("ray", partial(mortal, tmp_path, False), workers=3)
    result = BlackBoxSolver(Uniform, executor=executor).solve(Bowl(), Budget(trials=10), journal)
    expected = BlackBoxSolver(Uniform).solve(Bowl(), Budget(trials=10), plain)
    assert trials(journal) == trials(plain)
    assert (result.params, result.value) == (expected.params, expected.value)
    assert journal.lost
    assert stub.killed == stub.made - len(journal.lost), "every actor that lives is let go"
    assert not stub.running
    with pytest.raises(WorkerError) as caught:
        BlackBoxSolver(Uniform, executor=on("ray", unmakeable)).solve(Bowl(), Budget(trials=4), Journal())
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("section", ["search", "evaluation"])
def test_ray_that_is_missing_is_named(monkeypatch, section):
    """Before anything is opened."""
    monkeypatch.setattr("metaft.search.executors.registry.find_spec", lambda name: None)
    (fault,) = faults_of(config.load(None, ["search.mode=tpe", f"{section}.executor=ray"]))
    assert str(fault) == (
        f"{section}.executor: 'ray', which is not installed; allowed: serial, processes, or pip install 'metaft[ray]'."
    )


def test_a_share_of_a_gpu_is_asked_for(monkeypatch):
    asked = []

    class Stub(StubRay):
        def remote(self, kind):
            made = super().remote(kind)
            made.options = lambda **wanted: asked.append(wanted) or made
            return made

    monkeypatch.setitem(sys.modules, "ray", Stub())
    EXECUTORS["ray"].make(None, Place(bowl, 2, ["cuda:0"], gpu_share=0.5)).close()
    assert asked == [{"num_gpus": 0.5}]


class WithGPUs(StubRay):
    """As much of Ray as takes a share of a GPU, too."""

    def remote(self, kind):
        made = super().remote(kind)
        made.options = lambda **wanted: made
        return made


class Stuck(WithGPUs):
    """A cluster on which no job ends, and no worker is given a place."""

    def wait(self, jobs, num_returns, timeout):
        return [], jobs


def silent():
    time.sleep(60)


def gone():
    raise RayError("GCS is not there")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (silent, "ray: the cluster does not answer within 0 s; allowed: a cluster that runs until the end"),
        (gone, "ray: the cluster does not answer within 0 s; allowed: a cluster that runs until the end"),
        (lambda: [{"Alive": False}], "ray: no machine is left; allowed: a cluster that runs until the end"),
    ],
)
def test_a_cluster_that_is_gone_ends_a_search(monkeypatch, nodes, said):
    """Within so many seconds; it is not asked to stop anything."""
    stub = Stuck()
    stub.nodes = nodes
    monkeypatch.setitem(sys.modules, "ray", stub)
    monkeypatch.setattr("metaft.search.executors.ray.SILENCE", 0.05)
    with pytest.raises(ClusterError) as caught:
        BlackBoxSolver(Uniform, executor=on("ray", bowl)).solve(Bowl(), Budget(trials=4), Journal())
    assert str(caught.value).startswith(said)
    assert stub.killed == 0


def test_an_actor_that_dies_with_its_cluster_is_not_tried_again(monkeypatch):
    stub = StubRay()
    stub.get, stub.nodes = lambda ended: gone(), gone
    monkeypatch.setitem(sys.modules, "ray", stub)
    with pytest.raises(ClusterError, match="the cluster does not answer"):
        BlackBoxSolver(Uniform, executor=on("ray", bowl, workers=1)).solve(Bowl(), Budget(trials=4), Journal())
    assert stub.made == 1


def test_workers_for_which_a_cluster_has_no_room_end_a_search(monkeypatch):
    """Those that were given a place are not counted; both are let go."""
    stub = Stuck()
    monkeypatch.setitem(sys.modules, "ray", stub)
    monkeypatch.setattr("metaft.search.executors.ray.PLACED", 0.0)
    placed = lambda jobs, num_returns, timeout: (jobs[1:], jobs[:1]) if timeout == 0 else ([], jobs)  # noqa: E731
    stub.wait = placed
    executor = lambda problem: EXECUTORS["ray"].make(problem, Place(bowl, 2, ["cuda:0"], gpu_share=0.5))  # noqa: E731
    with pytest.raises(ClusterError) as caught:
        BlackBoxSolver(Uniform, executor=executor).solve(Bowl(), Budget(trials=4), Journal())
    assert str(caught.value) == (
        "ray: 1 of 2 workers were given no place within 0 s (each asks for 0.5 GPU, of 2 CPU, 0 GPU in the cluster); "
        "allowed: as many as there is room for, a smaller gpu_share"
    )
    assert stub.killed == 2


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    class Stub(StubRay):
        def init(self, **options):
            raise ConnectionError("Could not find any running Ray instance.\nmore")

    monkeypatch.setitem(sys.modules, "ray", Stub())
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ClusterError) as caught:
        EXECUTORS["ray"].make(None, Place(bowl, 2))
    assert str(caught.value) == (
        "RAY_ADDRESS: 'head:6379', which is none (Could not find any running Ray instance.); "
        "allowed: the address of a cluster that runs, or none for one on this machine"
    )


class Room:
    """A job that tells what a plan may take of 8 GB, on a CPU and on a GPU."""

    def perform(self, made):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(storage, "_available", lambda: 8e9)
            patched.setattr(storage, "_allowed", lambda: math.inf)
            for name, value in (("memory_reserved", 0), ("memory_allocated", 0), ("mem_get_info", (8e9, 9e9))):
                patched.setattr(torch.cuda, name, lambda device, value=value: value)
            return [storage.free_memory(torch.device(kind)) / (storage.SHARE * 8e9) for kind in ("cpu", "cuda")]


@pytest.mark.parametrize(
    ("executor", "place", "shares"),
    [
        pytest.param("processes", Place(bowl, 3), [1 / 3, 1 / 3], marks=pytest.mark.full),
        ("processes", Place(bowl, 3, ["cpu", "cpu"]), [1 / 3, 1 / 2]),
        ("ray", Place(bowl, 3), [1 / 3, 1]),
        ("ray", Place(bowl, 3, ["cuda:0"], gpu_share=0.4), [1 / 3, 1 / 2]),
        ("serial", Place(bowl, 1), [1, 1]),
    ],
)
def test_workers_of_a_machine_plan_with_their_part_of_its_memory(monkeypatch, executor, place, shares):
    """And of a GPU's, with as many as share it."""

    monkeypatch.setitem(sys.modules, "ray", WithGPUs())
    workers = EXECUTORS[executor].make(Bowl(), place)
    workers.submit(Room())
    assert workers.next().answer == pytest.approx(shares)
    workers.close()
    assert Room().perform(None) == [1, 1], "in this process nothing has changed"


STARTS = """
import sys
from tests.search.test_executors import EXECUTORS, Place, Slumber, bowl

workers = EXECUTORS["processes"].make(None, Place(bowl, 1))
workers.submit(Slumber())
print(*(process._process.pid for process in workers._processes.values()), flush=True)
sys.stdin.read()
"""


class Slumber:
    """A job that lasts as long as the test."""

    def perform(self, made):
        time.sleep(60)


@pytest.mark.full
def test_workers_end_with_whoever_started_them():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTS], cwd=ROOT, text=True, **pipes) as starter:
        worker = int(starter.stdout.readline())
        time.sleep(0.1)
        starter.kill()
    limit = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_ray_gives_what_one_process_gives(tmp_path):
    """In a process of its own: Ray warns and leaves threads behind."""
    run = subprocess.run(
        [sys.executable, "-c", RAY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=540, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "as in one process" in run.stdout


NO_CLUSTER = """
import sys, time
from metaft.search.executors import ray as executor
import ray
import tests.search.test_executors as t

executor.PLACED, executor.LOOK = 5.0, 1.0
workers = t.EXECUTORS["ray"].make(None, t.Place(t.bowl, 1, ["cuda:0"] if sys.argv[1] == "full" else ["cpu"]))
workers.submit(t.Slumber())
if sys.argv[1] == "gone":
    ray.wait([*workers._unplaced], timeout=60)
    node = ray._private.worker._global_node
    node.kill_gcs_server(check_alive=False)
    node.kill_raylet(check_alive=False)
begun = time.monotonic()
try:
    workers.next()
except t.ClusterError as error:
    workers.close()
    print(f"told after {time.monotonic() - begun:.0f} s: {error}", flush=True)
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("what", "said"),
    [("full", "1 of 1 workers were given no place within 5 s"), ("gone", "the cluster does not answer")],
)
def test_a_real_cluster_without_room_or_that_is_gone(what, said):
    """A minute at most, the end of the process included."""
    run = subprocess.run(
        [sys.executable, "-c", NO_CLUSTER, what], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    told = [line for line in run.stdout.splitlines() if line.startswith("told after")]
    assert len(told) == 1, run.stderr
    assert said in told[0]
    assert float(told[0].split()[2]) < 60


@pytest.mark.full
@pytest.mark.parametrize(("workers", "seconds"), [(2, 3.0), (4, 0.5)], ids=["two", "four"])
def test_waiting_is_shared(workers, seconds):
    """Workers that sleep are together faster than one (by how much is measured in benchmarks/executors.py)."""
    journal = Journal()
    executor = on("processes", partial(sleeper, seconds), workers)
    BlackBoxSolver(Uniform, executor=executor).solve(Bowl(), Budget(trials=workers), journal)
    clocks = [r.clock for r in trials(journal)]
    assert max(clocks) - min(clocks) < 1.4, "they ended together, not one after the other"
