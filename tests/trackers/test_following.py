"""Trackers are told all that a run writes, by anyone, and nothing that happens to them touches the run."""

from __future__ import annotations

import json

import pytest

from metaft import config
from metaft.errors import ConfigError
from metaft.files import append
from metaft.run import main
from metaft.runfolder import refuse_other_settings
from metaft.trackers import following
from metaft.trackers.following import followed
from metaft.trackers.registry import TRACKERS, TrackerKind

BLANK = '{"method": "ft", "step": %d, "loss": 0.5}'


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self, run, settings):
        self.run, self.settings, self.told, self.closed = run, settings, [], 0
        print("a greeting")

    def log(self, part, step, values):
        assert not self.closed
        self.told.append((part, step, values))

    def close(self):
        self.closed += 1


class Breaking(Kept):
    def log(self, part, step, values):
        super().log(part, step, values)
        if len(self.told) == 2:
            raise OSError("no network\nat all")


@pytest.fixture
def made(monkeypatch):
    """Registers trackers and gives those that were made."""
    made = {}
    for name, kind in (("kept", Kept), ("breaking", Breaking)):

        def make(run, settings, name=name, kind=kind):
            made[name] = kind(run, settings)
            return made[name]

        monkeypatch.setitem(TRACKERS, name, TrackerKind("a dummy", make))
    monkeypatch.setattr(following, "EVERY", 0.01)
    return made


def test_all_is_told_and_then_it_is_closed(tmp_path, made, capsys):
    (tmp_path / "metrics.jsonl").write_text(BLANK % 0 + "\n")  # of an earlier sitting
    with followed(tmp_path, config.load(None, ["report_to=kept", "seed=3"])):
        for step in range(1, 40):
            append(tmp_path / "metrics.jsonl", BLANK % step)
    kept = made["kept"]
    assert kept.told == [("ft", step, {"loss": 0.5}) for step in range(40)]
    assert (kept.run, kept.settings["seed"], kept.closed) == (tmp_path, 3, 1)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a greeting\n")


def test_what_ends_a_run_is_still_told(tmp_path, made):
    (tmp_path / "metrics.jsonl").touch()

    def interrupted():
        with followed(tmp_path, config.load(None, ["report_to=kept"])):
            append(tmp_path / "metrics.jsonl", BLANK % 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (len(made["kept"].told), made["kept"].closed) == (1, 1)


def test_one_that_fails_is_warned_of_and_the_others_go_on(tmp_path, made, capsys):
    (tmp_path / "metrics.jsonl").write_text("".join(BLANK % step + "\n" for step in range(5)))
    with followed(tmp_path, config.load(None, ["report_to=[breaking, kept]"])):
        pass
    assert (len(made["breaking"].told), len(made["kept"].told)) == (2, 5)
    assert "warning: report_to: breaking is told no more, since it failed: no network\n" in capsys.readouterr().err


def test_damaged_files_are_for_the_run_to_tell(tmp_path, made, capsys):
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "trials.jsonl").write_text('{"kind": "trial"}\n')
    (tmp_path / "metrics.jsonl").mkdir()
    with followed(tmp_path, config.load(None, ["report_to=kept"])):
        pass
    assert (made["kept"].told, made["kept"].closed) == ([], 1)
    assert "Traceback" not in capsys.readouterr().err


def test_one_that_cannot_begin_is_an_error(tmp_path, monkeypatch):
    def make(run, settings):
        raise RuntimeError("log in first\nsomehow")

    monkeypatch.setitem(TRACKERS, "odd", TrackerKind("a dummy", make))
    with (
        pytest.raises(ConfigError, match="report_to: odd, which cannot begin \\(log in first\\)"),
        followed(tmp_path, config.load(None, ["report_to=odd"])),
    ):
        pass


def test_by_default_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "Thread", lambda **_: pytest.fail("a thread"))
    with followed(tmp_path, config.load(None)):
        pass


@pytest.mark.full
def test_a_run_is_the_same_and_goes_on_with_others(small, tmp_path, made):
    words = ("--mode", "random", "evaluation.methods=[zero_shot, ft]", *small, "search.trials=2")
    assert main(["--out", str(tmp_path / "plain"), *words]) == 0
    assert main(["--out", str(tmp_path / "told"), "report_to=kept", *words]) == 0
    plain, told = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("plain", "told"))
    assert plain["methods"] == told["methods"]
    assert plain["run"] == told["run"]
    events = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("plain", "told")]
    assert events[0] == events[1]
    parts = [part for part, _, _ in made["kept"].told]
    assert parts.count("search") == 2
    assert len(parts) - 2 == len(events[1].splitlines())
    refuse_other_settings(tmp_path / "told", config.load(tmp_path / "told" / "config.yaml", ["report_to=[]"]))
