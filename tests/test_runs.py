"""Runs that are made again, and runs with several seeds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from metaft import config
from metaft.finetune.fits import Fits
from metaft.objective import load_objective
from metaft.report.document import read, sealed
from metaft.reproduction import reproduction
from metaft.run import main
from metaft.search.journal import PLACE
from metaft.search.lines import SUM, checksum
from metaft.search.problem.finetune import FinetuneProblem
from metaft.seeds import begin
from tests.conftest import SMALL

QUICK = (*SMALL, "data.options.ood_val=100", "evaluation.methods=[zero_shot, autoft]")
PARTS = ("trials", "objective", "methods", "failed", "handed_back", "model")


def json_of(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A finished run whose search a limit in seconds has ended."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    limits = ("search.trials=null", "search.step_equivalents=null", "search.seconds=1.5", "search.executor=serial")
    assert main(["--mode", "random", "--out", str(folder), *QUICK, *limits]) == 0
    return folder


@pytest.fixture
def run(first, tmp_path, monkeypatch):
    """The folder `first`, a copy of that run, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(first, tmp_path / "first")


def test_a_run_is_made_again_to_the_same_bits(run, capsys, monkeypatch):
    """Interrupted on the way, and with a search whose end a clock decided."""
    calls, evaluate = [], FinetuneProblem.evaluate

    def interrupting(self, params, seed, report=None):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(self, params, seed, report)

    monkeypatch.setattr(FinetuneProblem, "evaluate", interrupting)
    assert main(["--reproduce", "first", "--out", "again"]) == 130
    command = "python -m metaft.run --reproduce first --resume again"
    assert command in capsys.readouterr().err
    assert main(command.split()[3:]) == 0
    assert "first, made again in again:" in capsys.readouterr().out
    written = json_of(Path("again/reproduction.json"))
    assert written == {"of": "first", "same": True, "parts": dict.fromkeys(PARTS, "")}
    assert (run / "objective.yaml").read_bytes() == Path("again/objective.yaml").read_bytes()


def changed_trial(run: Path) -> None:
    path, total = run / PLACE, 0
    header, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(line for line in lines if line["kind"] == "trial")["outcome"]["value"] += 0.5
    for line in lines:
        del line[SUM]
        total = checksum(line, total)
        line[SUM] = f"{total:08x}"
    path.write_text("".join(json.dumps(line) + "\n" for line in [header, *lines]))


def one_trial_less(run: Path) -> None:
    (run / PLACE).write_text("".join((run / PLACE).read_text().splitlines(keepends=True)[:-1]))


def changed(run: Path, change: Callable[[dict], None]) -> None:
    """Change results.json, which is sealed again."""
    results = dict(read(run))
    change(results)
    (run / "results.json").write_text(json.dumps(sealed(results)))


def changed_score(run: Path) -> None:
    def change(results):
        score = results["methods"]["autoft"]["id_test"]
        score["accuracy"] = (score["accuracy"] + 0.25) % 1

    changed(run, change)


def changed_choice(run: Path) -> None:
    changed(run, lambda results: results["handed_back"].update(reason="luck"))


def changed_weight(run: Path) -> None:
    path = run / "model" / "head.safetensors"
    tensors = load_file(path)
    tensors["bias"][0] += 0.125
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "part", "said"),
    [
        (changed_trial, "trials", "1 of [0-9]+ evaluations differ, first trial 0: 1 of [0-9]+ differ, outcome value"),
        (one_trial_less, "trials", "[0-9]+ evaluations, not [0-9]+"),
        (changed_score, "methods", "1 of [0-9]+ differ, autoft id_test accuracy: 0\\.[0-9]+ and [01]\\.[0-9]+"),
        (changed_choice, "handed_back", "1 of 3 differ, reason: .* and luck"),
        (changed_weight, "model", "weights differ by at most 0.12, in bias"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_differs_is_told(first, run, change, part, said):
    change(run)
    found = reproduction(first, run)
    assert not found.same
    assert re.search(said, found.parts[part]), found.parts
    assert [name for name, text in found.parts.items() if text] == [part]
    assert f"| {part}" in found.table()


@pytest.mark.full
def test_another_result_ends_with_the_code_of_what_diverged(run, capsys):
    """Other data are told before it begins, another score at its end."""
    changed_score(run)
    identity = json_of(run / "identity.json")
    identity["data"]["id_train"]["n"] = 5
    (run / "identity.json").write_text(json.dumps(identity))
    assert main(["--reproduce", "first", "--out", "again"]) == 4
    said = capsys.readouterr()
    assert "first: data: id_train was {'n': 5" in said.err
    assert "| methods     | 1 of " in said.out
    assert json_of(Path("again/reproduction.json"))["same"] is False


@pytest.mark.full
def test_an_objective_that_was_given_is_given_again(run, capsys):
    assert main(["--objective", "first/objective.yaml", "--out", "given", *QUICK]) == 0
    assert main(["--reproduce", "given", "--out", "again"]) == 0
    assert not Path("again/search").exists()
    assert load_objective("again/objective.yaml") == load_objective("given/objective.yaml")


def test_only_finished_runs_are_made_again(run, capsys):
    (run / "report.html").unlink()
    begin(config.load(None, ["out=several"]), None, [4, 5])
    for words, said in [
        (["--reproduce", "first"], "first is not finished; allowed: a finished run; --resume first goes on"),
        (["--reproduce", "none"], "--reproduce: none: no such folder"),
        (["--reproduce", "first", "--objective", "x"], "--objective: x beside --reproduce; allowed: none, as the run"),
        (["--reproduce", "first", "inner.steps=9"], "inner.steps: 9 in a run that was begun; allowed: 2"),
        (["--reproduce", "first", "--seeds", "1", "2"], "--seeds: 1 2 beside --reproduce"),
        (["--reproduce", "several"], "--reproduce: several, which holds several runs; allowed: one of them, such as"),
    ]:
        assert main([*words, "--out", "again"]) == 2
        assert said in capsys.readouterr().err
    assert main(["--reproduce", "first", "--resume", "./first"]) == 2
    assert (
        "--resume: first, the run that is made again; allowed: the folder that it is made in" in capsys.readouterr().err
    )
    assert not Path("again").exists()


@pytest.mark.full
def test_several_seeds_and_their_mean(first, tmp_path, monkeypatch, capsys):
    """Interrupted in the second; the objective that they were given stays theirs though its file is gone."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(first / "objective.yaml", "o.yaml")
    calls, real = [], Fits._fitted

    def interrupting(self, *args, **kwargs):
        calls.append(self.context.settings.seed)
        if calls.count(4) == 1:
            calls.append(4)
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Fits, "_fitted", interrupting)
    assert main(["--objective", "o.yaml", "--out", "several", *QUICK, "--seeds", "3", "4", "inner.steps=3"]) == 130
    assert "--resume several" in capsys.readouterr().err
    Path("o.yaml").unlink()
    assert main(["--resume", "several"]) == 0
    out = capsys.readouterr().out
    runs = [json_of(Path(f"several/seed-{seed}/results.json")) for seed in (3, 4)]
    assert [r["seed"] for r in runs] == [3, 4]
    assert {r["mode"] for r in runs} == {None}
    summary = json_of(Path("several/summary.json"))
    cell = summary["methods"]["autoft"]["id_test"]["accuracy"]
    values = [r["methods"]["autoft"]["id_test"]["accuracy"] for r in runs]
    assert cell["values"] == values
    assert cell["mean"] == pytest.approx(sum(values) / 2)
    assert set(summary["methods"]) == {"zero_shot", "autoft", "handed back"}
    assert sum(summary["handed_back"].values()) == 2
    assert "| accuracy, 2 seeds |" in out
    assert Path("several/summary.md").read_text().count("±") >= 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "1", "01"), "--seeds: 1 1; allowed: whole numbers from 0 to 2147483647, each once"),
        (("--seeds", "x", "-1"), "--seeds: x -1; allowed"),
        (("--seeds", "2147483648"), "--seeds: 2147483648; allowed"),
        (("--seeds", "inner.steps=3"), "--seeds: nothing given"),
        (("--seeds", "1", "--seed", "2"), "--seed: 2 beside --seeds; allowed: one of the two"),
    ],
)
def test_seeds_that_no_run_can_have(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--mode", "tpe", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
