"""The benchmarks' rules: resumable, stoppable, never across versions, every choice on validation, pages current."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from metaft.config.schema import HypergradConfig
from metaft.data.registry import SUITE_VERSION
from metaft.files import append, write
from metaft.inner import ESTIMATORS
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.sampler import Failed
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE
from metaft.space import Categorical, Float, Int, Space
from metaft.temperature import ce_calibrated
from tests.search.problems import Bowl

ROOT = Path(__file__).parent.parent
QUICK = (
    *("quickstart", "exactness", "suites", "hypergradient", "tpe"),
    *("choice", "executors", "methods", "ftp_cost", "solvers", "startup", "worlds", "ood_size"),
    *("throughput", "zero_shot", "judges", "memory", "landscape", "scale"),
    *("chaos", "soak", "continual", "regret", "model_size", "descents"),
)
MAKERS = ("figures", "pretrain", "results")
PEERS = {"tpe": "hyperopt", "zero_shot": "clip_benchmark"}  # packages that a benchmark imports and the tests do without
PAGES = ("README.md", "RESULTS.md")


@pytest.fixture
def benchmarks(monkeypatch):
    """The benchmarks' folder on the path, as it is for a benchmark that runs."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_nothing_but_what_runs_and_its_pages():
    names = {path.name for path in (ROOT / "benchmarks").iterdir()} - {"__pycache__"}
    assert names == {f"{name}.py" for name in (*QUICK, *MAKERS)} | {*PAGES, "results", "shared"}


def test_the_index_names_all_that_runs():
    rows = re.findall(r"^\| `(\w+)\.py` \|", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), re.M)
    assert sorted(rows) == sorted((*QUICK, *MAKERS))


def needs_peer(name):
    """Skip where the package is missing that a benchmark compares with."""
    if name in PEERS:
        pytest.importorskip(PEERS[name])


@pytest.mark.parametrize("name", [*QUICK, *MAKERS])
def test_help_says_how_to_run_it(name, benchmarks, monkeypatch, capsys):
    needs_peer(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(name).main()
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


def test_the_page_of_results_is_current(benchmarks, monkeypatch, capsys, tmp_path):
    import results

    monkeypatch.setattr(sys, "argv", ["results.py", "--check"])
    assert results.main() == 0, capsys.readouterr().out
    monkeypatch.setattr(results, "OUT", tmp_path / "RESULTS.md")
    assert results.main() == 1
    assert capsys.readouterr().out.splitlines() == ["current", "out of date: run python benchmarks/results.py"]


LONG = """
import fcntl, subprocess, sys, time
from pathlib import Path
from shared.workers import in_workers

def work(name):
    held = open(name, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[held.fileno()])
    Path(name + ".begun").touch()
    time.sleep(60)

if __name__ == "__main__":
    list(in_workers([(work, name) for name in sys.argv[1:]], 2))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_is_stopped_takes_its_workers_with_it(number, code, tmp_path):
    """Each worker shares a lock with a process that it has started; a lock is free once both are gone."""
    (tmp_path / "long.py").write_text(LONG)
    names = [str(tmp_path / name) for name in "abc"]
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "long.py"), *names],
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert comes_true(lambda: len(list(tmp_path.glob("*.begun"))) == 2, seconds=60)
        parent.send_signal(number)
        assert parent.wait(timeout=20) == code
    finally:
        parent.kill()
        parent.wait()
    assert comes_true(lambda: not any(locked(name) for name in names[:2]), seconds=20)
    assert not Path(names[2] + ".begun").exists(), "work that waits is not begun"


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return true


def locked(name: str) -> bool:
    with Path(name).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_workers_give_back_what_their_jobs_return(benchmarks):
    from shared.workers import in_workers

    assert sorted(in_workers([(divmod, 7, 2), (divmod, 9, 4)], 2)) == [(2, 1), (3, 1)]


def test_rows_are_kept_and_found_again(benchmarks, tmp_path):
    from shared.rows import Rows

    args = Namespace(out=tmp_path / "rows.json", device="cpu", seeds=[0])
    Rows("some", args, ("suite", "seed")).add({"suite": "shapes", "seed": 0, "value": 1.5})
    again = Rows("some", args, ("suite", "seed"))
    again.add({"suite": "shapes", "seed": 0, "value": 2.5})
    assert [row["value"] for row in again.rows] == [2.5], "measured again, it takes the old one's place"
    assert {"suite": "shapes", "seed": 0} in again
    assert {"suite": "shapes", "seed": 1} not in again
    meta = json.loads(args.out.read_text())["meta"]
    assert {"command", "versions", "device", "date", "seeds"} <= set(meta)
    assert meta["suite_version"] == SUITE_VERSION


def test_rows_of_another_machine_say_so(benchmarks, monkeypatch, tmp_path):
    from shared import rows

    args = Namespace(out=tmp_path / "rows.json", device="cpu", seeds=[0])
    rows.Rows("some", args, ("seed",)).add({"seed": 0})
    monkeypatch.setattr(rows, "_processor", lambda device: "another")
    rows.Rows("some", Namespace(**{**vars(args), "seeds": [1]}), ("seed",)).add({"seed": 1})
    found = json.loads(args.out.read_text())
    assert found["meta"]["device"]["name"] != "another"
    assert found["meta"]["seeds"] == [0, 1]
    assert found["rows"][0] == {"seed": 0}
    assert found["rows"][1]["measured"] == {"device": {**found["meta"]["device"], "name": "another"}}


def test_rows_of_another_version_are_refused(benchmarks, tmp_path):
    from shared.rows import Rows

    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"meta": {"suite_version": SUITE_VERSION + 1}, "rows": []}))
    with pytest.raises(SystemExit, match="measure again"):
        Rows("some", Namespace(out=path, device="cpu", seeds=[0]), ("seed",))


def test_choices_are_made_on_validation(benchmarks):
    from shared.choices import chosen

    good = {"id_val": 0.9, "ood_val": 0.2, "own_val": 0.5, "id_test": 0.0, "ood_test": {"fog": 0.0}}
    robust = {"id_val": 0.1, "ood_val": 0.7, "own_val": 0.1, "id_test": 0.0, "ood_test": {"fog": 0.0}}
    tempting = {"id_val": 0.0, "ood_val": 0.0, "own_val": 0.0, "id_test": 1.0, "ood_test": {"fog": 1.0}}
    rows = [{**row, "method": m} for m in ("ft", "kd", "oracle") for row in (tempting, good, robust)]
    rows.append({"method": "ft", "failed": "diverged"})
    assert chosen(rows, "ft")["id_val"] == 0.9
    assert chosen(rows, "kd")["ood_val"] == 0.7
    assert chosen(rows, "oracle")["own_val"] == 0.5


def test_knobs_are_chosen_on_validation(benchmarks):
    from shared.tuning import tuned

    common = {"suite": "shapes/poster", "tuning": True, "id_test": 1.0}
    rows = [
        {**common, "method": "ftp", "number": 0, "knobs": {"speed": 0.1}, "ood_val": 0.5, "id_val": 0.3},
        {**common, "method": "ftp", "number": 1, "knobs": {"speed": 0.2}, "ood_val": 0.6, "id_val": 0.2},
        {**common, "method": "ftp", "number": 2, "knobs": {"speed": 0.3}, "ood_val": 0.5, "id_val": 0.4},
        {**common, "method": "ftp", "number": 3, "knobs": {"speed": 0.4}, "failed": "diverged"},
        {**common, "method": "ftp", "number": 4, "tuning": False, "knobs": {"speed": 9}, "ood_val": 1.0, "id_val": 1},
        {**common, "suite": "digits/photo", "method": "ftp", "number": 0, "knobs": {}, "ood_val": 1.0, "id_val": 1.0},
    ]
    assert tuned(rows, "shapes") == {"ftp": {"speed": 0.3}}


def test_knobs_are_tuned_from_their_defaults_and_a_failure_is_the_worst(benchmarks):
    from shared.tuning import trials, tunable, tuned

    def judge(params):
        weight = params["weight"]
        return {"failed": "diverged"} if weight > 1 else {"id_val": 0.5, "ood_val": 0.5 - abs(weight - 0.3)}

    rows = trials("l2_sp", 30, judge)
    (knob,) = tunable("l2_sp")
    assert [r["number"] for r in rows] == list(range(30))
    assert rows[0]["knobs"] == {"weight": knob.default}
    assert any("failed" in r for r in rows)
    best = tuned([{**r, "tuning": True, "method": "l2_sp"} for r in rows])["l2_sp"]["weight"]
    assert abs(best - 0.3) == min(abs(r["knobs"]["weight"] - 0.3) for r in rows)
    assert abs(best - 0.3) < abs(knob.default - 0.3)
    assert not [k for k in tunable("wise_ft") if k.default is None], "what a method chooses by itself is not tuned"


def test_regret_is_against_the_best_of_each_world_without_the_ceiling(benchmarks, monkeypatch):
    from shared.tables import regret

    def row(world, method, share, **more):
        accuracies = {"id_test": 0.9, "ood_test": {"fog": share, "noir": share}}
        return {
            "world": world,
            "seed": 0,
            "method": method,
            "tuning": False,
            "step_equivalents": 1.0,
            **accuracies,
            **more,
        }

    shares = {
        "digits": {"zero_shot": 0.4, "ft": 0.6, "oracle": 0.9},
        "shapes": {"zero_shot": 0.7, "ft": 0.5, "oracle": 0.8},
    }
    rows = [row(world, method, share) for world, of_world in shares.items() for method, share in of_world.items()]
    failed = {"world": "shapes", "seed": 0, "method": "l2_sp", "tuning": False, "failed": "diverged"}
    tuning = {"world": None, "seed": 1000, "method": "l2_sp", "tuning": True, "step_equivalents": 7.0}
    rows += [row("digits", "l2_sp", 0.55), failed, tuning]
    searched = [row(world, "autoft", 0.65, solver="tpe") for world in shares]
    monkeypatch.setattr(regret, "committed", {"regret": rows, "worlds": searched}.get)
    monkeypatch.setattr(regret, "solvers", lambda: ("tpe",))
    regret.methods.cache_clear()
    lost = {method: {w: round(v, 6) for w, v in of.items()} for method, of in regret.regrets().items()}
    regret.methods.cache_clear()
    assert lost == {
        "autoft, tpe": {"digits": 0.0, "shapes": 5.0},
        "l2_sp": {"digits": 10.0, "shapes": 0.0},
        "ft": {"digits": 5.0, "shapes": 20.0},
        "zero_shot": {"digits": 25.0, "shapes": 0.0},
    }
    assert list(lost)[:2] == ["autoft, tpe", "l2_sp"], "the least on average first"


def test_cells_of_the_methods_benchmark(benchmarks):
    """The seeds go through every pretraining and ID style, tuning stays apart, and labels cut id_train alone."""
    from shared.cells import TUNING_SEED, cell_of

    cells = [cell_of("shapes", seed, "cpu", False) for seed in range(5)]
    assert {c.pretrain for c in cells} == {0, 1, 2}
    assert {c.suite for c in cells} == {"shapes/photo", "shapes/poster", "shapes/watercolour"}
    assert [c.seed for c in cells] == list(range(5))
    apart = cell_of("shapes", TUNING_SEED, "cpu", False)
    assert (apart.pretrain, apart.seed) == (1000, 1000)
    few = cell_of("digits", 0, "cpu", False, labels=10)
    assert set(few.settings) - set(cell_of("digits", 0, "cpu", False).settings) == {"data.options.id_train=100"}


@pytest.mark.parametrize(
    ("styles", "found"),
    [
        (["photo", "poster", "photo"], "'photo' more than once"),
        (["photo", "pohto"], "'pohto'"),
        (["photo", "neon"], "'neon'"),  # which validation has
        (["photo"], "1 of them"),
        ([], "0 of them"),
    ],
)
def test_an_order_of_tasks_has_each_once(styles, found, benchmarks, monkeypatch, tmp_path):
    continual = importlib.import_module("continual")
    monkeypatch.setattr(sys, "argv", ["continual.py", "--styles", *styles, "--out", str(tmp_path / "rows.json")])
    with pytest.raises(SystemExit, match=rf"^--styles: {found}; allowed: at least two of photo, .*, each once$"):
        continual.main()
    assert not list(tmp_path.iterdir())


def test_another_order_of_tasks_has_rows_of_its_own(benchmarks, monkeypatch):
    continual = importlib.import_module("continual")
    assert continual.order(("a", "b", "c"), 4) == ["b", "c", "a"]
    monkeypatch.setattr(sys, "argv", ["continual.py", "--styles", "comic", "chalk"])
    with pytest.raises(SystemExit, match=r"^--styles: rows of another order in .*continual\.json; allowed: --out FILE"):
        continual.main()


def test_a_smaller_budget_is_read_from_the_journal_of_a_larger(benchmarks):
    """What a search with a fifth of the budget chooses, found again in the journal of the whole one."""
    from solvers import before, limit

    for solver in (HypergradSolver(seed=2), BlackBoxSolver(TPE, seed=2)):
        whole, own = Journal(), Journal()
        solver.solve(Bowl(noise=0.01), limit("steps:400"), whole)
        alone = solver.solve(Bowl(noise=0.01), limit("steps:80"), own)
        part = before(whole, limit("steps:80"), 1 - solver.final.final_share)
        read = solver.solve(Bowl(noise=0.01), limit("steps:80"), part)
        assert (read.params, read.value, read.trials) == (alone.params, alone.value, alone.trials)
        assert read.step_equivalents == alone.step_equivalents <= 80 + 6


def test_budgets_have_names(benchmarks):
    from solvers import limit

    assert limit("wall:24") == Budget(seconds=24.0)
    assert limit("steps:1000") == Budget(step_equivalents=1000.0)
    assert limit("trials:3") == Budget(trials=3)


def test_sign_flips_against_scipy(benchmarks):
    from scipy.stats import permutation_test
    from shared.numbers import sign_flip

    values = [1.5, -0.3, 2.2, 0.4, 0.9]
    theirs = permutation_test((values,), np.mean, permutation_type="samples", alternative="greater", n_resamples=1e4)
    assert sign_flip(values) == pytest.approx(theirs.pvalue)
    assert sign_flip([1.0] * 5) == 1 / 32


def test_optuna_searches_our_spaces(benchmarks):
    from shared.optuna_sampler import OptunaTPE

    space = Space([Float("w", 0.0, 10.0, scale="asinh"), Int("n", 1, 5), Categorical("kind", ("a", "b"))])
    sampler = OptunaTPE(space, seed=0)
    first = {"w": 0.02, "n": 2, "kind": "b"}
    sampler.enqueue(first)
    sampler.observe({"w": 5.0, "n": 4, "kind": "a"}, 3.0)
    points = []
    for _ in range(40):
        trial = sampler.ask()
        space.to_unit(trial.params)
        points.append(trial.params)
        value = abs(trial.params["w"] - 1.0) + (trial.params["kind"] == "a")
        sampler.tell(trial.number, Failed("no luck") if trial.params["n"] == 5 else value)
    assert points[0] == pytest.approx(first)
    assert sum(p["kind"] == "b" for p in points[20:]) > 12


@pytest.mark.full
def test_peers_and_plain_training_have_the_loop_that_is_measured(benchmarks):
    """In float64 the elementary peer, torch's AdamW and `unroll` are the same to rounding."""
    innerloop, peers = (importlib.import_module(f"shared.{name}") for name in ("innerloop", "peers"))
    setting = innerloop.Setting(innerloop.Cell(innerloop.TOY, 16, 2), 0, "cpu", torch.float64)
    value, gradient = ESTIMATORS["unroll"].make(HypergradConfig())(setting.loop)
    theirs, by_peer = peers.PEERS["recomputed"].estimate(setting)
    torch.testing.assert_close(theirs, value, rtol=1e-10, atol=0)
    torch.testing.assert_close(setting.in_cube(by_peer), setting.in_cube(gradient), rtol=1e-8, atol=1e-12)
    model = setting.plain()
    trained = ce_calibrated(model(setting.last.images).logits, setting.last.labels)
    torch.testing.assert_close(trained.detach(), value, rtol=1e-10, atol=0)


@pytest.fixture
def patchable(monkeypatch):
    """What a watch patches for the rest of a process's life is given back after the test."""
    for owner, name in ((Path, "replace"), (os, "open"), (os, "fsync")):
        monkeypatch.setattr(owner, name, getattr(owner, name))


def test_every_write_to_a_folder_is_a_point(benchmarks, tmp_path, patchable):
    from shared.strikes import Watch

    run, seen = tmp_path / "run", list[str]()
    run.mkdir()
    Watch(run, lambda point, form, cut: seen.append(f"{point.number} {point.act} {point.file} {form}"))
    for folder in (run, tmp_path):
        write(folder / "a", "text")
        append(folder / "a", "line")
    forms = {"1 rename": ("before", "full", "after"), "2 append": ("before", "torn", "full", "after")}
    assert seen == [f"{point} a {form}" for point in forms for form in forms[point]]


def test_a_strike_of_a_full_disk_leaves_half_of_what_is_written(benchmarks, tmp_path, patchable):
    from shared.strikes import Watch, strike

    Watch(tmp_path, strike(2, "full"))
    write(tmp_path / "a", "text\n")
    with pytest.raises(OSError, match="No space left on device"):
        append(tmp_path / "a", "a line")
    assert (tmp_path / "a").read_text() == "text\na l"
    append(tmp_path / "a", "ine")
    assert (tmp_path / "a").read_text() == "text\na line\n"


def test_runs_are_the_same_but_for_times(benchmarks, tmp_path):
    from shared.sameness import difference

    one, other = (tmp_path / name for name in ("one", "other"))
    for folder, clock in ((one, 1.5), (other, 2.5)):
        (folder / "search").mkdir(parents=True)
        (folder / "config.yaml").write_text("{}\n")
        record = {"kind": "trial", "clock": clock, "outcome": {"value": 0.5, "seconds": clock}}
        (folder / "search" / "trials.jsonl").write_text(json.dumps(record) + "\n")
        save_file({"w": torch.ones(3)}, folder / "model.safetensors")
    assert difference(one, other) == ""
    save_file({"w": torch.tensor([1.0, 1.0, 1.0 + 1e-7])}, other / "model.safetensors")
    assert difference(one, other).startswith("model.safetensors: w: ")
    line = {"kind": "trial", "outcome": {"value": 0.6}}
    (other / "search" / "trials.jsonl").write_text(json.dumps(line) + "\n")
    assert difference(one, other) == "search/trials.jsonl: 0: outcome: value: 0.6 instead of 0.5"
    (other / "more.tmp").touch()
    assert difference(one, other) == "files: ['more.tmp'] more, [] missing"


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", QUICK)
def test_benchmarks_are_quick_on_request(name, benchmarks, monkeypatch, tmp_path):
    needs_peer(name)
    out = tmp_path / "rows.json"
    command = [f"benchmarks/{name}.py", "--quick", "--out", str(out)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    before = out.read_text()
    monkeypatch.setattr(sys, "argv", command)
    importlib.import_module(name).main()
    assert out.read_text() == before, "cells that are there are not measured again"
