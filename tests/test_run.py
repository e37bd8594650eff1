"""The command line as a person uses it, at small sizes: modes, replay, resume, and every documented fault."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from metaft import config, pipeline
from metaft.checkpoints import Checkpoints
from metaft.clip.embedded import TOY, checkpoint
from metaft.data.registry import SUITE_VERSION
from metaft.finetune.fits import Fits
from metaft.objective import load_objective
from metaft.report.run import run_in
from metaft.run import main
from metaft.search.problem.finetune import FinetuneProblem
from tests.conftest import SMALL, by_default
from tests.report.checker import faults

ROOT = Path(__file__).parent.parent
SPLITS = {"id_test", "ood_test/handwritten"}
UNTRAINED = {"zero_shot", "linear_probe", "linear_probe_ood_val", "wise_probe"}  # but for a last layer by regression
ALL = {*UNTRAINED, "ft", "wise_ft", "autoft", "autoft_wise", "ft_ood_val", "dfr", "best_by_ood_val", "oracle"}
FEW = "evaluation.methods=[zero_shot, autoft]"
NONE = ("evaluation.methods=[zero_shot]", "finetune.method=zero_shot")  # nothing is trained after the search
TINY = (*SMALL, "data.options.id_val=40", "data.options.ood_val=60", "data.options.test=30")


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its folder, its exit code and what it said."""

    folder: Path
    code: int
    out: str
    err: str

    @property
    def results(self) -> dict:
        return results_of(self.folder)

    @property
    def journal(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "search" / "trials.jsonl").read_text().splitlines()]


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run of these words at seed 3, made once for all tests; none may change its folder."""

    @cache
    def run(*words: str) -> Ended:
        folder = tmp_path_factory.mktemp("ended") / "run"
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = main([*words, "--out", str(folder), "--seed", "3", *TINY])
        return Ended(folder, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def metaft(tmp_path, monkeypatch):
    """Call the command line in an empty folder, with the small settings appended."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, overrides: tuple[str, ...] = TINY) -> int:
        return main([*words, *overrides])

    return call


@pytest.mark.parametrize(
    ("mode", "methods"),
    [
        ("hypergrad", ("zero_shot", "wise_ft", "autoft", "linear_probe_ood_val", "best_by_ood_val")),
        pytest.param("hypergrad", ALL, marks=pytest.mark.full),
        ("tpe", ("zero_shot", "autoft")),
        pytest.param("random", ("zero_shot", "autoft"), marks=pytest.mark.full),
        pytest.param("optuna-gp", ("zero_shot", "autoft"), marks=pytest.mark.full),
        pytest.param("tpe", ALL, marks=pytest.mark.full),
        pytest.param("random", ALL, marks=pytest.mark.full),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} methods",
)
def test_a_whole_run(ended, mode, methods):
    end = ended("--mode", mode, *([] if methods == ALL else [f"evaluation.methods=[{', '.join(methods)}]"]))
    assert end.code == 0
    methods = set(methods)
    run, results = end.folder, end.results
    assert (results["mode"], results["seed"]) == (mode, 3)
    assert set(results["methods"]) == methods
    assert results["provenance"]["suite"] == {"format": "digits", "version": SUITE_VERSION}
    assert results["provenance"]["metric"] == "accuracy"
    assert ("optuna" in results["provenance"]["versions"]) == mode.startswith("optuna")
    for method in results["methods"].values():
        assert set(method) == SPLITS
        for split in method.values():
            low, high = split["ci95"]["accuracy"]
            assert 0 <= low <= split["accuracy"] <= high <= 1
            assert split["n"] > 0
    search = results["search"]
    assert {"trials", "best_value", "inner_steps", "step_equivalents", "seconds", "space_size"} <= set(search)
    assert (search["trials"], search["space_size"]) == (6, 11)
    assert results["provenance"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    kinds = [line.get("kind") for line in end.journal]
    assert [k for k in kinds if k not in ("start", "final")] == [None, "space", *["trial"] * 6]
    assert kinds[-2:] == ["final"] * 2
    assert yaml.safe_load((run / "objective.yaml").read_text())["terms"]["ce"] == 1.0
    for name in ("config.yaml", "provenance.json", "results.md", "report.html", "figures/id_ood.png", "metrics.jsonl"):
        assert (run / name).stat().st_size > 0, name
    assert faults((run / "report.html").read_text()) == []
    assert run_in(run, results).odd == ()
    assert "| autoft " in end.out
    kept = results["handed_back"]
    assert kept["method"] in methods - {"oracle", "best_by_ood_val"}
    compared = {"ft", "zero_shot"} & methods - {kept["method"]}
    assert (run_in(run, results).examples is not None) == bool(compared)
    assert results["ood_val"].keys() == methods
    assert kept["ood_val"] == results["ood_val"][kept["method"]]
    sentence = f"{kept['method']} is handed back: {kept['reason']}."
    assert sentence in end.out
    assert sentence in (run / "results.md").read_text()
    assert end.err == "", "silent where no terminal looks on"
    model = open_clip.create_model("toy-clip", pretrained=str(run / "model" / "open_clip_model.safetensors"))
    theirs = load_file(run / "checkpoints" / f"{kept['method']}.safetensors")
    begun = load_file(checkpoint(TOY, 0))["visual.proj"].float()  # where the method has not moved it
    torch.testing.assert_close(model.state_dict()["visual.proj"], theirs.get("clip.visual.proj", begun))


def test_an_objective_is_replayed_without_a_search(metaft, tmp_path):
    (tmp_path / "o.yaml").write_text("version: 1\nterms: {ce: 1.0, l2init: 0.01}\nlr: 1e-4\nwd: 0.1\n")
    assert metaft("--objective", "o.yaml", "--out", "run", FEW) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["mode"], results["search"]) == (None, None)
    assert results["objective"]["terms"] == {"ce": 1.0, "l2init": 0.01}
    assert load_objective(tmp_path / "run" / "objective.yaml") == load_objective(tmp_path / "o.yaml")
    assert not (tmp_path / "run" / "search").exists()


def test_an_objective_of_other_groups_is_refused(metaft, tmp_path, capsys):
    (tmp_path / "o.yaml").write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-4\nwd: 0.1\ngroups: {hed: {lr: 1e-3}}\n")
    assert metaft("--objective", "o.yaml") == 2
    assert "unknown name 'hed'" in (err := capsys.readouterr().err)
    assert "'head'" in err
    assert not (tmp_path / "runs").exists()


def test_an_objective_with_groups_trains_them(metaft, tmp_path):
    (tmp_path / "o.yaml").write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-3\nwd: 0\ngroups: {stem: {lr: 0}}\n")
    assert metaft("--objective", "o.yaml", "--out", "run", FEW) == 0
    kept, start = load_file(tmp_path / "run/checkpoints/autoft.safetensors"), load_file(checkpoint(TOY, 0))
    assert "clip.visual.conv1.weight" not in kept, "as it began"
    assert not torch.equal(kept["clip.visual.proj"], start["visual.proj"].float())


@pytest.mark.parametrize("after", [5, *(pytest.param(n, marks=pytest.mark.full) for n in (2, 7, 8, 9))])
def test_an_interrupted_run_is_resumed_to_the_same_end(ended, metaft, tmp_path, monkeypatch, capsys, after):
    """Interrupted in the search (six trials) or, from 7 on, as methods are fitted, of which one asks for another."""
    whole = ended("--mode", "tpe", FEW)
    calls = 0

    def interrupt(real):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == after:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patched:
        patched.setattr(FinetuneProblem, "evaluate", interrupt(FinetuneProblem.evaluate))
        patched.setattr(Fits, "_fitted", interrupt(Fits._fitted))
        assert metaft("--mode", "tpe", FEW, "--out", "part", "--seed", "3") == 130
    assert "python -m metaft.run --resume part" in capsys.readouterr().err
    assert main(["--resume", "part"]) == 0
    part = results_of(tmp_path / "part")
    assert part["methods"] == whole.results["methods"]
    assert part["objective"] == whole.results["objective"]
    assert (tmp_path / "part" / "search" / "trials.jsonl").read_text().count("\n") == len(whole.journal)


def whole_and_in_parts(metaft, words, monkeypatch) -> list[str]:
    """A run in `whole`, and in `part` with an interruption when a state is first kept under each name; those names."""
    assert metaft(*words, "--out", "whole") == 0
    save, stopped = Checkpoints.save, list[str]()

    def interrupt(self, name, state):
        save(self, name, state)
        if ".best" not in name and name not in stopped:  # a best check's file comes before the state that names it
            stopped.append(name)
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupt)
    code = metaft(*words, "--out", "part")
    while code == 130:
        code = main(["--resume", "part"])
    assert code == 0
    return stopped


@pytest.mark.full
@pytest.mark.parametrize("trained", [("autoft",), ("ft", "wise_ft", "ftp", "autoft")], ids=len)
def test_a_training_is_taken_up_in_the_middle(metaft, tmp_path, monkeypatch, trained):
    """Every method of the run, each interrupted once at its first check."""
    methods = f"evaluation.methods=[zero_shot, {', '.join(trained)}]"
    words = ("--mode", "random", "finetune.epochs=2", methods, "search.method=spd", "search.trials=2")
    stopped = whole_and_in_parts(metaft, words, monkeypatch)
    assert set(stopped) == {"autoft_end", *trained} - {"autoft", "wise_ft"}
    whole, part = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "part"))
    for key in ("methods", "drift", "objective"):
        assert part[key] == whole[key]
    assert set(whole["cost"]) == set(whole["methods"])
    for name, cost in whole["cost"].items():
        assert part["cost"][name]["step_equivalents"] == pytest.approx(cost["step_equivalents"])
    assert not list((tmp_path / "part" / "checkpoints").glob("*.training"))
    assert whole["objective"]["method"] == "spd"
    assert whole["search"]["space_size"] == 12
    for page in ("results.md", "report.html"):
        text = (tmp_path / "part" / page).read_text()
        assert "drift of weights" in text
        assert "spd strength" in text


@pytest.mark.full
def test_a_run_with_fits_on_folds_is_resumed(metaft, tmp_path, monkeypatch):
    """What trains on ood_val is interrupted on all of it and on each fold, and what it has chosen is kept."""
    knobs = "finetune.knobs={ft_ood_val: {weight: 1.0}}"
    words = ("--mode", "random", "evaluation.methods=[zero_shot, ft_ood_val, dfr]", "search.trials=2", knobs)
    stopped = whole_and_in_parts(metaft, words, monkeypatch)
    assert stopped == ["ft_ood_val.tried", "ft_ood_val", "ft_ood_val.fold0", "ft_ood_val.fold1", "ft"]
    whole, part = (results_of(tmp_path / name) for name in ("whole", "part"))
    for key in ("methods", "ood_val", "handed_back"):
        assert part[key] == whole[key]
    assert not list((tmp_path / "part" / "checkpoints").glob("*.training"))


@pytest.mark.full
def test_the_model_that_the_settings_name_is_handed_back(metaft, tmp_path):
    words = ("--mode", "random", "search.trials=2", "evaluation.methods=[zero_shot]", "finetune.method=autoft")
    assert metaft(*words, "--out", "run") == 0
    results = results_of(tmp_path / "run")
    kept = results["handed_back"]
    assert (kept["method"], kept["reason"]) == ("autoft", "finetune.method names it")
    assert kept["ood_val"] == results["ood_val"]["autoft"]
    exported = load_file(tmp_path / "run" / "model" / "open_clip_model.safetensors")
    theirs = load_file(tmp_path / "run" / "checkpoints" / "autoft.safetensors")
    torch.testing.assert_close(exported["visual.proj"], theirs["clip.visual.proj"])


@pytest.mark.full
def test_a_metric_is_what_a_run_chooses_by_and_tells_first(metaft, tmp_path, capsys):
    words = ("--mode", "random", "search.trials=2", "evaluation.methods=[zero_shot, ft]", "search.metric=macro_f1")
    assert metaft(*words, "--out", "run") == 0
    told = capsys.readouterr().out
    assert told.startswith("macro F1:\n\n| method")
    assert "\n\naccuracy:\n\n| method" in told
    results = results_of(tmp_path / "run")
    scores = {name: f"{100 * of['id_test']['macro_f1']:.1f} [" for name, of in results["methods"].items()}
    assert all(score in told.partition("accuracy:")[0] for score in scores.values())
    assert "best macro F1 on ood_val" in results["handed_back"]["reason"]
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (check,) = (e for e in events if e["method"] == "ft" and "step" in e)
    assert 0 < check["id_val_macro_f1"] < 1
    trials = [json.loads(line) for line in (tmp_path / "run" / "search" / "trials.jsonl").read_text().splitlines()]
    outcomes = [trial["outcome"] for trial in trials if trial.get("kind") == "trial"]
    assert [o["metric"] for o in outcomes] == pytest.approx([1 - o["loss"] for o in outcomes])


@pytest.mark.full
def test_a_training_state_that_cannot_be_read_is_named(metaft, tmp_path, monkeypatch, capsys):
    save = Checkpoints.save

    def torn(self, name, state):
        save(self, name, state)
        if "training" in state:
            path = tmp_path / "run" / "checkpoints" / f"{name}.training"
            path.write_bytes(path.read_bytes()[:100])
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", torn)
    assert metaft("--mode", "random", "--out", "run") == 130
    assert main(["--resume", "run"]) == 3
    assert "ft.training" in capsys.readouterr().err


@pytest.fixture
def copied(ended, metaft, tmp_path):
    """The folder `run`, a copy of a finished run."""
    return shutil.copytree(ended("--mode", "random", FEW).folder, tmp_path / "run")


def test_resume_takes_no_other_settings(copied, metaft, capsys):
    assert main(["--resume", "run", "inner.steps=9"]) == 2
    assert "inner.steps: 9 in a run that was begun; allowed: 2, as it began" in capsys.readouterr().err
    assert main(["--resume", "run", "finetune.method=ftp"]) == 2
    assert "finetune.method: 'ftp' in a run that was begun; allowed: 'auto', as it began" in capsys.readouterr().err
    for flag, value in (("--config", "other"), ("--out", "other"), ("--objective", "other"), ("--seeds", "1")):
        assert main(["--resume", "run", flag, value]) == 2
        assert f"{flag}: {value} beside --resume; allowed: none, as the run has its own" in capsys.readouterr().err
    assert metaft("--mode", "random", "--out", "run") == 2
    assert "--resume run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("config.yaml", None, "", "settings: data.options was {'id_train': 200, "),
        ("config.yaml", "batch_size: 16", "batch_size: 17", "settings: inner.batch_size was 16 and is 17"),
        ("objective.yaml", "ce: 1.0", "ce: 2.0", "objective.yaml: terms {'ce': 2.0"),
        ("objective.yaml", "wd: ", "wd: 1", "which the run had as"),
        ("results.json", None, "", "results.json: no readable results"),
        ("results.json", '"seed": 3', '"seed": 4', "results.json: no readable results (its sha256 is"),
        ("identity.json", None, "{", "identity.json: what the run began with cannot be read"),
    ],
)
def test_what_was_changed_in_a_run_is_named(copied, capsys, file, old, new, said):
    """And what it had computed stays."""
    text = (copied / file).read_text()
    assert old is None or old in text
    (copied / file).write_text(new if old is None else text.replace(old, new, 1))
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file() and p.name != ".lock"}
    assert main(["--resume", "run"]) in (2, 3)
    assert said in capsys.readouterr().err
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_results_that_are_gone_are_what_is_named(copied, capsys):
    """Not the objective, whose file is as it was."""
    (copied / "results.json").unlink()
    assert main(["--resume", "run"]) == 3
    said = "run/results.json: without the objective that objective.yaml says is found; allowed: as the run wrote it"
    assert said in capsys.readouterr().err


@pytest.mark.full
def test_an_objective_that_was_given_is_not_searched_for(metaft, tmp_path, capsys):
    """Where its file is gone, whether the settings would know how to or not."""
    (tmp_path / "o.yaml").write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-4\nwd: 0.1\n")
    for name, words, said in (
        (
            "run",
            ("--mode", "random"),
            "run/objective.yaml: no such file; allowed: the objective that the run was given",
        ),
        ("other", (), "search.mode: nothing given, and no objective is there"),
    ):
        assert metaft(*words, "--objective", "o.yaml", "--out", name, FEW) == 0
        (tmp_path / name / "objective.yaml").unlink()
        assert main(["--resume", name]) in (2, 3)
        assert said in capsys.readouterr().err


def test_other_settings_are_refused_before_anything_is_opened(copied, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "opened", lambda *_: pytest.fail("before anything is opened"))
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(text.replace("id_train: 200", "id_train: 900000"))
    assert main(["--resume", "run"]) == 2
    assert "settings: data.options was {'id_train': 200" in capsys.readouterr().err


def test_a_run_deleted_under_way_is_noticed(metaft, tmp_path, monkeypatch, capsys):
    """At the next write, and nothing is made in its place."""
    real = pipeline.find

    def deleted(*args):
        result = real(*args)
        shutil.rmtree(tmp_path / "run")
        return result

    monkeypatch.setattr(pipeline, "find", deleted)
    assert metaft("--mode", "random", *NONE, "--out", "run") == 3
    said = capsys.readouterr().err
    assert "No such file or directory" in said
    assert "--resume" not in said, "there is nothing to go on with"
    assert not (tmp_path / "run").exists()


HOLD = """
import sys
from pathlib import Path
from metaft.files import claim
lock = claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused(copied, capsys):
    words, pipe = [sys.executable, "-c", HOLD, str(copied)], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert main(["--resume", "run"]) == 2
        assert "run: another process is at work on it; allowed: one at a time" in capsys.readouterr().err
        other.kill()
    assert main(["--resume", "run"]) == 0


@pytest.mark.full
@pytest.mark.parametrize(("mode", "workers"), [("random", 1), ("random", 2), ("hypergrad", 1)])
def test_trials_in_processes_are_those_of_one(ended, mode, workers):
    words = ("--mode", mode, *NONE, "--device", "cpu")
    one, other = ended(*words), ended(*words, "search.executor=processes", f"search.workers={workers}")
    assert one.code == other.code == 0
    assert other.results["objective"]["lr"] == one.results["objective"]["lr"]
    assert other.results["search"]["best_value"] == pytest.approx(one.results["search"]["best_value"], rel=1e-4)


def test_a_warm_start_learns_from_an_earlier_run(ended, metaft, tmp_path, capsys):
    earlier = f"search.warm_start={ended('--mode', 'tpe', FEW).folder}"
    assert metaft("--mode", "tpe", *NONE, "--out", "second", "--seed", "1", earlier) == 0
    lines = (tmp_path / "second" / "search" / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line).get("kind") for line in lines][:5] == [None, "space", "prior", "prior", "prior"]
    capsys.readouterr()
    assert metaft("--mode", "tpe", *NONE, "--out", "third", earlier, "objective.bounds={kd: [0.1, 1.0]}") == 3
    assert "kd is low 0.0, high 10.0; allowed: low 0.1, high 1.0, as in this search" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


CLUSTER = """
import sys
import ray
from metaft.run import main

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
code = main(sys.argv[1:])
ray.shutdown()
sys.exit(code)
"""


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_comparison_on_a_cluster(metaft, tmp_path):
    """Two workers of a cluster that is there already make what one process makes; Ray leaves threads behind."""
    (tmp_path / "o.yaml").write_text("version: 1\nterms: {ce: 1.0, l2init: 0.01}\nlr: 1e-4\nwd: 0.1\n")
    words = ("--objective", "o.yaml", "evaluation.methods=[zero_shot, ft, wise_ft, dfr, autoft]")
    assert metaft(*words, "--out", "one") == 0
    there = ("--out", "two", "evaluation.executor=ray", "evaluation.workers=2", *TINY)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, *words, *there], env=environment, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr
    one, two = results_of(tmp_path / "one"), results_of(tmp_path / "two")
    for part in ("methods", "ood_val", "drift", "handed_back"):
        assert two[part] == one[part]


@pytest.mark.full
def test_pictures_of_ones_own(metaft, picture_tree, tmp_path):
    sizes = ("inner.steps=2", "search.trials=10", "finetune.epochs=1", "inner.batch_size=8", "finetune.batch_size=8")
    compared = "evaluation.methods=[zero_shot, ft, autoft]"
    words = ("--mode", "hypergrad", "--out", "run", "data.format=folder", f"data.root={picture_tree}", compared)
    assert metaft(*words, overrides=sizes) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["methods"]["autoft"]) == {"id_test", "ood_test/dusk", "ood_test/dawn"}


@pytest.mark.parametrize("loss", by_default(["gone"], ["bad", "gone"]))
def test_a_run_goes_on_without_a_picture_that_was_lost(metaft, picture_tree, tmp_path, monkeypatch, capsys, loss):
    """Another of its class stands in for it."""
    sizes = ("inner.steps=2", "search.trials=6", "finetune.epochs=1", "inner.batch_size=8", "finetune.batch_size=8")
    compared = ("evaluation.methods=[zero_shot, ft, autoft]", "data.on_unreadable=skip")
    words = ("--mode", "tpe", "--out", "run", "data.format=folder", f"data.root={picture_tree}", *compared)
    with monkeypatch.context() as patched:
        patched.setattr(Fits, "_fitted", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert metaft(*words, overrides=sizes) == 130
    lost, other = (picture_tree / "id_train/dark_square" / name for name in ("3.png", "5.png"))
    if loss == "gone":
        lost.unlink()
    else:
        lost.write_bytes(b"no picture")
    content = other.read_bytes()
    Image.new("RGB", (40, 40), (9, 90, 200)).save(other)
    capsys.readouterr()
    assert main(["--resume", "run"]) == 2
    assert "run: data: id_train was {" in capsys.readouterr().err, "another picture is other data"
    other.write_bytes(content)
    assert main(["--resume", "run"]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "3.png" in line]
    assert "warning: id_train: 1 of 20 pictures that were read as the run began cannot be any more, " in said
    assert results_of(tmp_path / "run")["methods"]["autoft"]["id_test"]["n"] == 20


def test_searches_that_cannot_be_leave_no_trace(metaft, picture_tree, tmp_path, capsys):
    """What a search needs is looked at before a folder is made."""
    for more in ((), ("--dry-run",)):
        assert metaft("--mode", "hypergrad", "search.step_equivalents=15", *more) == 2
        said = capsys.readouterr().err
        assert "search.step_equivalents: 15, too few for the 2 hypergradients of one outer step" in said
    assert metaft("--mode", "hypergrad", "hypergrad.regime=online") == 2
    assert "hypergrad.share: 1 step equivalents, but an outer step takes 2 windows" in capsys.readouterr().err
    shutil.rmtree(picture_tree / "ood_val" / "light_square")
    words = ("--mode", "tpe", "data.format=folder", f"data.root={picture_tree}")
    assert metaft(*words, overrides=()) == 3
    assert "ood_val: all 10 images are of one class (dark square); allowed: at least two" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_one_class_leaves_no_trace(metaft, picture_tree, tmp_path, capsys):
    for folder in list(picture_tree.rglob("light_square")):
        shutil.rmtree(folder)
    assert metaft("--mode", "tpe", "data.format=folder", f"data.root={picture_tree}", overrides=()) == 3
    assert "1 class found (dark square); allowed: at least two classes" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "methods",
    [{"zero_shot", "ft", "wise_ft", "autoft", "best_by_ood_val"}, pytest.param(ALL, marks=pytest.mark.full)],
    ids=["5 methods", "all methods"],
)
def test_a_run_that_diverges_keeps_the_rest(metaft, tmp_path, capsys, methods):
    words = ("--out", "run", f"evaluation.methods=[{', '.join(sorted(methods))}]")
    assert metaft("--mode", "tpe", *words, "finetune.lr=1e9", "objective.bounds={lr: [1e-5, 1e-2]}") == 4
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    left = methods & {*UNTRAINED, "autoft", "autoft_wise", "best_by_ood_val"}
    assert (set(results["methods"]), set(results["failed"])) == (left, methods - left)
    assert results["handed_back"]["method"] in left
    assert "ft: diverged in step" in capsys.readouterr().err
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    "methods",
    [{"zero_shot", "ft", "autoft"}, pytest.param(ALL, marks=pytest.mark.full)],
    ids=["3 methods", "all methods"],
)
def test_a_search_that_diverges_keeps_the_rest(metaft, tmp_path, capsys, methods):
    words = ("--out", "run", f"evaluation.methods=[{', '.join(sorted(methods))}]")
    assert metaft("--mode", "hypergrad", *words, "objective.bounds={lr: [1e20, 1e30]}") == 4
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["methods"]) == methods - {"autoft", "autoft_wise"}
    assert "narrow objective.bounds" in capsys.readouterr().err


def wide_checkpoint(path) -> str:
    save_file({k: torch.zeros([2 * s for s in t.shape]) for k, t in load_file(checkpoint(TOY, 0)).items()}, path)
    return str(path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--mode", "tpo"], 2, ["search.mode: 'tpo'", "'tpe'"]),
        ([], 2, ["--mode: nothing given; allowed: hypergrad, tpe, random"]),
        (["--mode", "tpe", "objective.terms=[hing]", "inner.step=3"], 2, ["'hinge'", "'inner.steps'", "2 problems"]),
        (
            ["--mode", "tpe", "--config", "absent.yaml"],
            2,
            ["cannot read absent.yaml: No such file or directory; allowed: a YAML"],
        ),
        (["--mode", "tpe", "--config", "wide.safetensor"], 2, ["Did you mean 'wide.safetensors'?"]),
        (["--mode", "tpe", "--objective", "absent.yaml"], 2, ["cannot read absent.yaml"]),
        (["--resume", "absent"], 2, ["--resume: absent: no such folder; allowed: the folder of a run"]),
        (["--mode", "tpe", "search.executor=rai"], 2, ["search.executor: unknown name 'rai'", "'ray'"]),
        (["--mode", "tpe", "search.workers=2"], 2, ["search.workers: 2 with executor serial", "processes, ray"]),
        (["--mode", "tpe", "evaluation.executor=rai"], 2, ["evaluation.executor: unknown name 'rai'", "'ray'"]),
        (["--mode", "tpe", "evaluation.gpu_share=0.5"], 2, ["evaluation.gpu_share: 0.5 with executor serial", "ray"]),
        (
            ["--mode", "hypergrad", "hypergrad.regime=online", "search.executor=ray"],
            2,
            ["'ray' with the online regime", "allowed: serial"],
        ),
        (["--mode", "hypergrad", "search.stop_hopeless=true"], 2, ["search.stop_hopeless"]),
        (["--mode", "random", "search.warm_start=absent"], 2, ["search.warm_start: given with random"]),
        (["--mode", "tpe", "search.warm_start=absent"], 3, ["absent/search/trials.jsonl: no such journal"]),
        (["--mode", "tpe", "search.method=ftpp"], 2, ["search.method: unknown name 'ftpp'", "'ftp'"]),
        (["--mode", "tpe", "finetune.knobs.ftp.kapa=1"], 2, ["finetune.knobs.ftp.kapa", "'kappa'"]),
        (["--mode", "tpe", "finetune.knobs.lora.rank=0"], 2, ["finetune.knobs.lora.rank: 0; allowed: 1 to 256"]),
        (["--mode", "tpe", "finetune.exclude=[haed.*]"], 2, ["finetune.exclude: 'haed.*' matches no parameter"]),
        (
            ["--mode", "tpe", "finetune.lora_targets=['*q_proj*']", "evaluation.methods=[lora]"],
            *(2, ["finetune.lora_targets: '*q_proj*' matches no matrix"]),
        ),
        (["--mode", "tpe", "data.format=folder", "data.root=absent"], 3, ["absent", "no such folder"]),
        (["--mode", "tpe", "model.pretrained=absent.pt"], 3, ["'absent.pt'", "an existing file"]),
        (["--mode", "tpe", "model.name=ViT-B-32"], 3, ["nothing given for 'ViT-B-32'", "laion2b_s34b_b79k"]),
        (["--mode", "tpe", "model.pretrained=wide.safetensors"], 3, ["another architecture"]),
    ],
)
def test_faults_have_their_code_and_leave_no_trace(metaft, tmp_path, capsys, words, code, said):
    wide = tmp_path / "wide.safetensors"
    wide_checkpoint(wide)
    assert metaft(*words, overrides=()) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert all(word in err for word in said), err
    assert [p.name for p in tmp_path.iterdir()] == [wide.name]


def test_a_folder_that_cannot_be_written_to_is_refused_first(metaft, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "opened", lambda *_: pytest.fail("before anything is opened"))
    (tmp_path / "file").write_text("x")
    for out in ("file", "file/run"):
        assert metaft("--mode", "tpe", "--out", str(tmp_path / out)) == 2
        assert f"out: {tmp_path / 'file'} is a file; allowed: a folder" in capsys.readouterr().err


def test_a_full_disk_says_how_to_go_on(metaft, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pipeline, "run", full)
    assert metaft("--mode", "tpe", "--out", str(tmp_path / "run")) == 3
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'run'}: No space left on device; allowed: room, and then python -m metaft.run" in said
    assert f"--resume {tmp_path / 'run'}" in said


def test_dry_run_writes_nothing_and_tells_all(metaft, small, tmp_path, capsys, monkeypatch):
    assert metaft("--mode", "hypergrad", "--dry-run") == 0
    out = capsys.readouterr().out
    for words in (
        "id_train",
        "classes: 0 = 'zero', 1 = 'one', ",
        "ood_test/handwritten",
        "trained parameters",
        "one hypergradient",
        "estimated peak memory, hypergradient through",
        "estimated peak memory, the whole run",
    ):
        assert words in out
    assert "search / fine-tune" in out
    assert "| models are chosen by | accuracy |" in " ".join(out.split())
    assert "estimated last choice" not in out, "no share of the way is searched"
    assert main(["--mode", "hypergrad", "--dry-run", *small, "objective.mix=true"]) == 0
    assert "estimated last choice" in capsys.readouterr().out

    def taken(self, u, seed):
        raise AssertionError("a search without hypergradients takes none")

    monkeypatch.setattr(FinetuneProblem, "hypergradient", taken)
    left_out = ("evaluation.leave_one_out=true", "search.use_ood_labels=judge", "objective.terms=[kd]")
    assert main(["--mode", "tpe", "--dry-run", *small, *left_out]) == 0
    out = capsys.readouterr().out
    one, both = (
        int(re.search(rf"estimated {what}.* s, ([\d,]+) step equivalents", out)[1].replace(",", ""))
        for what in ("fine-tune of one method", "leave-one-out, at most")
    )
    assert both == pytest.approx(2 * one, abs=1), "of ce and kd, each is left out once"
    assert "hypergradient" not in out
    assert "estimated search" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_which_methods_are_left_out(picture_tree, capsys):
    words = ["data.format=folder", f"data.root={picture_tree}", "inner.steps=2", "inner.batch_size=4"]
    assert main(["--mode", "tpe", "--dry-run", *words]) == 0
    assert "oracle: left out of evaluation.methods, since this data set cannot serve it\n" in capsys.readouterr().err


def test_a_dry_run_with_an_objective_is_of_no_search(metaft, small, tmp_path, capsys):
    objective = tmp_path / "objective.yaml"
    objective.write_text("version: 1\nterms: {ce: 1.0, kd: 0.5}\nlr: 1.0e-3\nwd: 0.1\n")
    assert main(["--objective", str(objective), "--dry-run", *small]) == 0
    out = capsys.readouterr().out
    assert "estimated fine-tune of one method" in out
    assert "estimated search" not in out
    assert "searched hyperparameters" not in out
    objective.write_text("version: 1\nterms: {ce: 1.0}\nlr: 1.0e-3\nwd: 0.1\ngroups: {block.9.attn: {lr: 0.1}}\n")
    assert main(["--objective", str(objective), "--dry-run", *small]) == 2
    assert "block.9.attn" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["terms", "methods", "datasets", "estimators", "executors", "models"])
def test_lists(metaft, what, capsys):
    assert main(["--list", what]) == 0
    names = {
        "terms": "l2init",
        "methods": "wise_ft",
        "datasets": "folder",
        "estimators": "unroll",
        "executors": "ray",
        "models": "ViT-L-14",
    }
    assert f"| {names[what]} " in capsys.readouterr().out


def test_settings_are_shown_and_checked(metaft, capsys, tmp_path):
    assert main(["--print-config", "inner.steps=7"]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "c.yaml").write_text(shown)
    assert config.load(tmp_path / "c.yaml").inner.steps == 7
    assert main(["--validate", "--config", "c.yaml"]) == 0
    assert main(["--validate", "inner.steps=x"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--modee", "tpe"], "flag: unknown name '--modee'; allowed: --config, "),
        (["--modee=tpe"], "Did you mean '--mode'?"),
        (
            ["--mode", "tpe", "--inner.steps", "7"],
            "--inner.steps: a setting; allowed: without dashes and with its value",
        ),
        (["--mode", "tpe", "--inner.steps=7"], "as inner.steps=7"),
    ],
)
def test_bad_flags_exit_with_two(metaft, capsys, words, said):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
