"""A run's folder: one run and one process each, and what it keeps comes back as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metaft import config, runfolder
from metaft.build.fits import fit_settings
from metaft.checkpoints import Checkpoints
from metaft.clip.classifier import holding
from metaft.cost import Cost
from metaft.errors import BusyError, CheckpointError, ConfigError, DataError
from metaft.finetune.context import FitContext
from metaft.finetune.fits import Fit
from metaft.finetune.loop import train
from metaft.runfolder import RunFolder
from metaft.tensors import digest
from tests.finetune.states import same
from tests.results import RESULTS

IDENTITY = {
    "settings": {"inner.steps": 7},
    "data": {"id_train": {"n": 3, "sha256": "ab"}},
    "weights": {"theta_0": "cd"},
    "code": {"torch": "2.0"},
}


@pytest.fixture
def checkpoints(work, tmp_path):
    return Checkpoints(tmp_path / "checkpoints", work.classifier)


def test_a_folder_holds_one_run(tmp_path):
    cfg = config.load(None, [f"out={tmp_path / 'run'}", "seed=7"])
    folder = RunFolder.create(cfg, IDENTITY)
    assert config.load(folder.path / "config.yaml") == cfg
    with pytest.raises(ConfigError, match=r"out: .*run holds a run; allowed: a new folder, or --resume .*run"):
        RunFolder.create(cfg, IDENTITY)


def test_a_folder_without_a_name_says_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, name in ((["search.mode=tpe", "seed=3"], "tpe-digits-seed3"), ([], "objective-digits-seed0")):
        assert RunFolder.create(config.load(None, words), IDENTITY).path.match(f"runs/*-{name}")


def test_runs_that_begin_together_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runfolder.time, "strftime", lambda form: "now")
    cfg = config.load(None, ["search.mode=tpe"])
    paths = [RunFolder.create(cfg, IDENTITY).path for _ in range(3)]
    assert [path.name for path in paths] == [f"now-tpe-digits-seed0{n}" for n in ("", "-2", "-3")]


HOLD = """
import sys
from pathlib import Path
from metaft.files import claim

lock = claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_in_which_another_run_begins_is_refused(tmp_path):
    """Before anything is written: the other's identity stays its own."""
    (tmp_path / "run").mkdir()
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="run: another process is at work on it"):
            RunFolder.create(config.load(None, [f"out={tmp_path / 'run'}"]), IDENTITY)
        assert not list((tmp_path / "run").glob("[!.]*"))
        other.kill()


def test_a_run_that_began_meanwhile_is_found(tmp_path, monkeypatch):
    """Between the first look and the claim."""
    cfg, claim = config.load(None, [f"out={tmp_path / 'run'}"]), runfolder.claim

    def late(path):
        (path / "config.yaml").write_text("seed: 1")
        return claim(path)

    monkeypatch.setattr(runfolder, "claim", late)
    with pytest.raises(ConfigError, match="run holds a run; allowed: a new folder"):
        RunFolder.create(cfg, IDENTITY)
    assert not (tmp_path / "run" / "identity.json").exists()


@pytest.mark.parametrize("link", ["nowhere", "run"])
def test_a_link_to_nowhere_is_refused_first(tmp_path, link):
    (tmp_path / "run").symlink_to(tmp_path / link)
    with pytest.raises(ConfigError, match="run is a link to nowhere; allowed: a folder that can be made"):
        runfolder.refuse_unusable(tmp_path / "run")


def test_results_of_another_run_are_refused(tmp_path):
    other = {**IDENTITY, "settings": {"inner.steps": 9}}
    RunFolder(tmp_path, other).write(RESULTS)
    with pytest.raises(DataError, match=r"results\.json: no readable results \(they are of another run\)"):
        RunFolder(tmp_path, IDENTITY).results()
    RESULTS.write(tmp_path)
    with pytest.raises(DataError, match="of another run"):
        RunFolder(tmp_path, IDENTITY).results()


def test_results_and_events(tmp_path):
    folder = RunFolder(tmp_path, IDENTITY)
    assert folder.results() is None
    folder.write(RESULTS)
    assert folder.results() == RESULTS
    with folder.claimed():
        folder.log({"step": 1})
        folder.log({"loss": float("inf")})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1}, {"loss": None}]


def test_events_are_not_doubled_by_a_crash(tmp_path):
    events, folder = tmp_path / "metrics.jsonl", RunFolder(tmp_path, IDENTITY)
    with folder.claimed():
        for step in (1, 2):
            folder.log({"step": step})
    events.write_bytes(events.read_bytes() + b'{"step"')
    again = RunFolder(tmp_path, IDENTITY)
    with again.claimed():
        for step in (2, 3):
            again.log({"step": step})
    assert [json.loads(line)["step"] for line in events.read_text().splitlines()] == [1, 2, 3]


def test_what_was_half_written_is_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for left in ("results.json.tmp", "checkpoints/ft.training.tmp"):
        (tmp_path / left).write_text("half")
    with RunFolder(tmp_path, IDENTITY).claimed():
        assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("left", ["seeds.json", "results.json", "objective.yaml", "search", "checkpoints", "model"])
def test_what_is_left_of_a_run_is_no_folder_for_another(tmp_path, left):
    (tmp_path / left).mkdir()
    with pytest.raises(ConfigError, match=f"out: .* holds {left}, as a run does; allowed: a new folder"):
        RunFolder.create(config.load(None, [f"out={tmp_path}"]), IDENTITY)


def test_a_run_that_ended_as_it_began_is_begun_anew(tmp_path, monkeypatch):
    """By the same command: there is nothing to go on with."""
    cfg = config.load(None, [f"out={tmp_path / 'run'}"])
    with monkeypatch.context() as patched:
        patched.setattr(runfolder, "dump", interrupted)
        with pytest.raises(KeyboardInterrupt):
            RunFolder.create(cfg, IDENTITY)
    assert [path.name for path in (tmp_path / "run").glob("[!.]*")] == ["identity.json"]
    assert config.load(RunFolder.create(cfg, IDENTITY).path / "config.yaml") == cfg


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("settings", "inner.steps", 9),
        ("data", "id_train", {"n": 5}),
        ("weights", "theta_0", "f00"),
        ("data", "more", 1),
    ],
)
def test_a_run_goes_on_as_it_began(tmp_path, part, name, value):
    folder = RunFolder.create(config.load(None, [f"out={tmp_path / 'run'}"]), IDENTITY)
    assert RunFolder.reopened(folder.path, IDENTITY).path == folder.path
    other = {**IDENTITY, part: {**IDENTITY[part], name: value}}
    was = IDENTITY[part].get(name, "not there")
    said = f"run: {part}: {name} was {was} and is {value}; allowed: as the run began"
    with pytest.raises(ConfigError, match=re.escape(said)):
        RunFolder.reopened(folder.path, other)


def test_other_code_is_told(tmp_path, capsys):
    folder = RunFolder.create(config.load(None, [f"out={tmp_path / 'run'}"]), IDENTITY)
    RunFolder.reopened(folder.path, {**IDENTITY, "code": {"torch": "9.9"}})
    assert "torch was 2.0 and is 9.9: its numbers may differ" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 10**5, '{"settings": 3}', '{"settings": {}}', "\x00\xff"])
def test_a_damaged_identity_is_named(tmp_path, text):
    folder = RunFolder.create(config.load(None, [f"out={tmp_path / 'run'}"]), IDENTITY)
    (folder.path / "identity.json").write_text(text)
    with pytest.raises(DataError, match=r"identity\.json: what the run began with cannot be read"):
        RunFolder.reopened(folder.path, IDENTITY)


def test_a_deleted_folder_is_not_made_again(tmp_path):
    folder = RunFolder.create(config.load(None, [f"out={tmp_path / 'run'}"]), IDENTITY)
    with pytest.raises(FileNotFoundError), folder.claimed():  # noqa: PT012 (what is written into it, in turn)
        shutil.rmtree(folder.path)
        for attempt in (
            lambda: folder.log({"step": 1}),
            lambda: RESULTS.write(folder.path),
            folder.journal,
        ):
            with pytest.raises(FileNotFoundError):
                attempt()
        assert not folder.path.exists()
        folder.log({"step": 2})


def elsewhere(classifier):
    """A copy with another head."""
    return holding(classifier, {"head.bias": classifier.head.bias + 0.5, "head.weight": classifier.head.weight * 2})


def test_a_fit_comes_back(work, checkpoints):
    assert checkpoints.take("ft") is None
    model = elsewhere(work.classifier)
    fit = Fit(model, {"zero_shot": Cost(2.5), "ft": Cost(10.0, 0.1)}, {"alpha": 0.3, "method": "ft"})
    checkpoints.put("ft", fit)
    kept = checkpoints.take("ft")
    assert (kept.costs, kept.chosen, kept.cost) == (fit.costs, fit.chosen, Cost(12.5, 0.1))
    for name, tensor in kept.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_fits_that_were_exchanged_are_refused(work, checkpoints, tmp_path):
    for name in ("ft", "kd"):
        checkpoints.put(name, Fit(work.classifier))
        checkpoints.save(f"{name}.1", {"step": 3})
    for suffix in ("safetensors", "1.training"):
        (tmp_path / "checkpoints" / f"kd.{suffix}").replace(tmp_path / "checkpoints" / f"ft.{suffix}")
    with pytest.raises(CheckpointError, match=r"ft\.1\.training: it is kd\.1; allowed: ft\.1, or no such file"):
        checkpoints.load("ft.1")
    with pytest.raises(CheckpointError, match=r"ft\.safetensors: it is kd; allowed: ft, or no such file"):
        checkpoints.take("ft")


def test_states_of_trainings_go_with_their_fit(work, checkpoints, tmp_path):
    state = {"step": 3, "variables": {"a": torch.arange(3.0)}}
    for name in ("soup", "soup.1", "ft", "soup_2", "ft.fold0", "ft.fold0.tried"):
        checkpoints.save(name, state)
    kept = checkpoints.load("soup.1")
    assert kept["step"] == 3
    assert torch.equal(kept["variables"]["a"], torch.arange(3.0))
    checkpoints.put("soup", Fit(work.classifier))
    checkpoints.put("ft.fold0", Fit(work.classifier))
    left = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert left == {"soup.safetensors", "ft.fold0.safetensors", "ft.training", "soup_2.training"}
    assert checkpoints.load("soup") is None


def test_the_last_checks_are_kept_for_good(work, checkpoints, tmp_path):
    """Of each training by itself, and beyond its fit, with which the states go."""
    data, plain = work.splits.search_data, fit_settings(work).plain
    finetune = work.cfg.finetune.model_copy(update={"keep_checks": 2, "batch_size": 20})
    settings = replace(fit_settings(work), steps=6, checks=6, finetune=finetune)
    judged = []

    def noting(model):
        judged.append(model)
        return model

    context = FitContext(settings, keeper=checkpoints)
    fitted = train(work.classifier, plain, data, context, "ft", finish=noting)
    checkpoints.retain("ft.fold0", 100, fitted, 1)
    checkpoints.put("ft", Fit(fitted))
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {f"{name}.safetensors" for name in ("ft", "ft.check5", "ft.check6", "ft.fold0.check100")}
    assert same(checkpoints.take("ft.check6").model, judged[-1])
    assert not same(checkpoints.take("ft.check5").model, judged[-1])
    checkpoints.retain("ft", 12, fitted, 2)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("ft.check*"))
    assert kept == ["ft.check12.safetensors", "ft.check6.safetensors"], "the last two in time, not in the alphabet"


def test_no_check_is_kept_unasked(work, checkpoints, tmp_path):
    settings = replace(fit_settings(work), steps=2, checks=2)
    train(work.classifier, settings.plain, work.splits.search_data, FitContext(settings, keeper=checkpoints), "ft")
    assert not list((tmp_path / "checkpoints").glob("*.safetensors"))


def test_a_crash_after_a_fit_leaves_no_state_of_its_training(work, checkpoints, tmp_path, monkeypatch):
    """The fit is taken when the run goes on; its folds, whose trainings may be under way, are fits of their own."""
    for name in ("ft", "ft.tried", "ft.fold0"):
        checkpoints.save(name, {"step": 3})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.put("ft", Fit(work.classifier))
    assert checkpoints.take("ft") is not None
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"ft.safetensors", "ft.fold0.training"}


def test_files_that_cannot_be_read_are_named(checkpoints, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "ft.training").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"ft\.training: .*; allowed: a training's state, or no such file"):
        checkpoints.load("ft")
    (tmp_path / "checkpoints" / "kd.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"kd\.safetensors"):
        checkpoints.take("kd")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_is_no_part_of_a_run(checkpoints, tmp_path, kind):
    (tmp_path / "checkpoints").mkdir()
    files = ("checkpoints/ft.safetensors", "checkpoints/kd.training", "metrics.jsonl", "identity.json")
    for path in (tmp_path / file for file in files):
        {"folder": path.mkdir, "pipe": lambda p=path: os.mkfifo(p), "loop": lambda p=path: p.symlink_to(p)}[kind]()
    for attempt in (lambda: checkpoints.take("ft"), lambda: checkpoints.load("kd")):
        with pytest.raises(CheckpointError):
            attempt()
    with pytest.raises(OSError), RunFolder(tmp_path, IDENTITY).claimed():  # noqa: PT011 (another one for each kind)
        pytest.fail("metrics.jsonl cannot be read")
    with pytest.raises(DataError, match=r"identity\.json"):
        RunFolder.reopened(tmp_path, IDENTITY)


def test_a_flipped_bit_is_found(work, checkpoints, tmp_path):
    """At places all over both kinds of file: it is refused by name, or what is read is what was written."""
    state = {"step": 3, "variables": {"w": torch.randn(64)}, "best": {}}
    checkpoints.save("kd", state)
    checkpoints.put("ft", Fit(elsewhere(work.classifier), {"ft": Cost(1.0)}, {"alpha": 0.3}))
    generator, found = torch.Generator().manual_seed(0), 0
    for name, take in (("kd.training", lambda: checkpoints.load("kd")), ("ft.safetensors", lambda: taken(checkpoints))):
        path, before = tmp_path / "checkpoints" / name, take()
        whole = path.read_bytes()
        places = [torch.randint(below, (16,), generator=generator).tolist() for below in (len(whole), 400)]
        for place in (0, 9, *places[0], *places[1]):
            torn = bytearray(whole)
            torn[place] ^= 1 << (place % 8)
            path.write_bytes(torn)
            try:
                same = str(take()) == str(before)
            except CheckpointError as error:
                same, found = name in str(error), found + 1
            assert same
        path.write_bytes(whole)
        assert str(take()) == str(before)
    assert found > 24


def taken(checkpoints: Checkpoints) -> tuple:
    fit = checkpoints.take("ft")
    return digest(fit.model.state_dict()), fit.costs, fit.chosen


def test_what_another_run_made_is_refused(work, checkpoints, tmp_path):
    checkpoints.save("kd", {"step": 1})
    checkpoints.put("ft", Fit(work.classifier))
    others = Checkpoints(tmp_path / "checkpoints", work.classifier, run="another")
    for attempt in (lambda: others.load("kd"), lambda: others.take("ft")):
        with pytest.raises(CheckpointError, match="of another run; allowed: this run's own"):
            attempt()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("scalars", [10, 3_000_000])
def test_a_state_that_finds_no_room_says_so(checkpoints, tmp_path, scalars):
    checkpoints.save("ft", {"step": 1})
    (tmp_path / "checkpoints" / "ft.training.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*ft\.training'"):
        checkpoints.save("ft", {"step": 2, "variables": torch.zeros(scalars)})
    assert checkpoints.load("ft") == {"step": 1}, "the last state stays"


def test_what_a_report_shows_lies_beside_the_results(tmp_path):
    """Warnings of every sitting, each once; a run that goes on without examples keeps those that it has."""
    folder = RunFolder(tmp_path, IDENTITY)
    folder.warnings = ["skipped: a.png", "two\nlines"]
    folder.show({"images": 3})
    again = RunFolder(tmp_path, IDENTITY)
    again.warnings = ["skipped: a.png", "a new one"]
    again.show(None)
    lines = (tmp_path / "warnings.txt").read_text().splitlines()
    assert lines[0] == "skipped: a.png"
    assert lines[-1] == "a new one"
    assert len(lines) == 3
    assert json.loads((tmp_path / "examples.json").read_text()) == {"images": 3}
