"""The journal: whole lines, one writer, one space, everything back as it was."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from metaft.errors import BusyError, DataError
from metaft.search.bilevel import Outcome
from metaft.search.journal import VERSION, Journal
from metaft.search.lines import SUM, Lost, Record, Start, checksum
from metaft.space import Categorical, Float, Int, Space

HOLD = """
import sys, time
from pathlib import Path
from metaft.search.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def record(number: int = 0) -> Record:
    return Record(
        "trial", number, {"x": 0.1}, 7, Outcome(math.nan, 0.0, math.inf, 1, 1.0, 0.0, "diverged"), (math.nan, 1.0)
    )


def test_journal_holds_what_json_cannot(tmp_path):
    path = tmp_path / "t.jsonl"
    Journal(path).append(record())
    (read,) = Journal(path).records
    assert read.outcome.value == math.inf
    assert math.isnan(read.gradient[0])
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_torn_last_line_is_cut_and_told(tmp_path, capsys):
    path = tmp_path / "t.jsonl"
    journal = Journal(path)
    journal.append(record(0))
    journal.append(record(1))
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal(path)
    assert [r.number for r in again.records] == [0]
    assert "cut off an unfinished last line" in capsys.readouterr().err
    again.append(record(1))
    assert [r.number for r in Journal(path).records] == [0, 1]


V2 = '{"version": 2}\n'


@pytest.mark.parametrize(
    "text", ['{"version": 1}\n', V2 + '{"kind": "odd"}\n', V2 + '{"kind": "trial"}\n', "nonsense\n", "[]\n"]
)
def test_a_damaged_journal_is_refused(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="allowed"):
        Journal(path)


@pytest.fixture
def whole(tmp_path):
    """A journal of a run with two trials."""
    path = tmp_path / "t.jsonl"
    journal = Journal(path, run="a")
    for number in range(2):
        journal.start(Start(number, {"x": 0.1}, 7))
        journal.append(record(number))
    return path


@pytest.mark.parametrize("change", [lambda t: t.replace("0.1", "0.2", 1), lambda t: t.replace("0.1", "0.10", 1)])
def test_a_changed_line_is_found(whole, change):
    text = whole.read_text()
    whole.write_text(change(text))
    if json.loads(text.splitlines()[1]) == json.loads(change(text).splitlines()[1]):
        assert len(Journal(whole).records) == 2, "other spelling, the same record"
        return
    with pytest.raises(DataError, match=r"damaged journal .* of the start 0 is not that of its line, or of those"):
        Journal(whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:1] + lines[2:],
        lambda lines: lines[:3] + lines[1:3] + lines[3:],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    ],
    ids=["missing", "doubled", "moved"],
)
def test_a_missing_or_moved_line_is_found(whole, change):
    whole.write_text("".join(change(whole.read_text().splitlines(keepends=True))))
    with pytest.raises(DataError, match=r"damaged journal \(crc .* is not that of its line, or of those before it"):
        Journal(whole)


def test_a_journal_of_the_version_before_goes_on(whole):
    """Whose lines have checksums of their own, or none, as those that are added to it."""
    raw = [json.loads(line) for line in whole.read_text().splitlines()[1:]]
    lines = [{key: value for key, value in record.items() if key != SUM} for record in raw]
    lines[1][SUM] = f"{checksum(lines[1]):08x}"
    whole.write_text("".join(json.dumps(line) + "\n" for line in [{"version": 2, "run": "a"}, *lines]))
    journal = Journal(whole, run="a")
    journal.start(Start(2, {"x": 0.1}, 7))
    journal.append(record(2))
    assert [r.number for r in Journal(whole, run="a").records] == [0, 1, 2]


ODD = [
    ({"number": 1}, "the trial 1 is not in its turn"),
    ({"number": -1}, "trial.number: Input should be greater than or equal to 0"),
    ({"seed": "a"}, "trial.seed: Input should be a valid integer"),
    ({"params": {"x": [1]}}, "trial.params.x"),
    ({"params": [1]}, "trial.params: Input should be a valid dictionary"),
    ({"outcome": None}, "trial.outcome"),
    ({"gradient": [True, 1.0]}, "trial.gradient.0"),
    ({"clock": -1.0}, "trial.clock"),
    ({"reports": [[1]]}, "trial.reports.0.1: Field required"),
    ({"more": 1}, "trial.more: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("change", "said"), ODD, ids=[said for _, said in ODD])
def test_a_record_of_another_form_is_refused(tmp_path, change, said):
    """Even where someone has given it a checksum."""
    path = tmp_path / "t.jsonl"
    Journal(path).append(record(0))
    raw = json.loads(path.read_text().splitlines()[1]) | change
    del raw[SUM]
    line = json.dumps({**raw, SUM: f"{checksum(raw):08x}"})
    path.write_text(f'{{"version": {VERSION}}}\n{line}\n')
    with pytest.raises(DataError, match=rf"damaged journal \({re.escape(said)}"):
        Journal(path)


@pytest.mark.parametrize(
    ("params", "gradient", "said"),
    [
        ({"lr": 2.0, "n": 1, "k": "a"}, None, "lr is 2.0, outside its range"),
        ({"lr": 0.1, "n": 1.0, "k": "a"}, None, "n is 1.0, outside its range"),
        ({"lr": 0.1, "n": 1, "k": 1}, None, "k is 1, outside its range"),
        ({"lr": 0.1, "n": 1}, None, "params: missing or unknown ['k']"),
        ({"lr": 0.1, "n": 1, "k": "a"}, (1.0,), "a derivative of 1 numbers, not 3"),
    ],
)
def test_points_of_no_search_are_refused(params, gradient, said):
    journal = Journal()
    journal.append(Record("trial", 0, params, 7, record().outcome, gradient))
    with pytest.raises(DataError, match=rf"journal: damaged journal \(number 0: {re.escape(said)}"):
        journal.bind(SPACE)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_is_no_journal(tmp_path, kind):
    path = tmp_path / "t.jsonl"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[kind]()
    for read_only in (False, True):
        with pytest.raises(DataError, match=r"t\.jsonl: journal that cannot be read"):
            Journal(path, read_only=read_only)


def test_a_journal_of_another_run_is_refused(whole):
    assert len(Journal(whole, run="a").records) == 2
    assert len(Journal(whole, read_only=True).records) == 2, "which a warm start learns from"
    with pytest.raises(DataError, match="journal of another run; allowed: this run's own"):
        Journal(whole, run="b")


def test_an_empty_journal_is_begun_anew(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"")
    Journal(path).append(record())
    assert len(Journal(path).records) == 1


@pytest.mark.parametrize("run", [None, "a"])
def test_a_journal_that_was_torn_in_its_first_line_is_begun_anew(tmp_path, run):
    path = tmp_path / "t.jsonl"
    Journal(path, run=run)
    first = path.read_bytes()
    for length in range(len(first)):
        path.write_bytes(first[:length])
        assert Journal(path, read_only=True).records == []
        assert path.read_bytes() == first[:length]
        Journal(path, run=run).append(record())
        assert len(Journal(path, run=run).records) == 1


@pytest.mark.parametrize("noise", [b'{"version": 3} {}', b'{"version": 3}\0'])
def test_what_has_more_than_a_first_line_is_not_overwritten(tmp_path, noise):
    path = tmp_path / "t.jsonl"
    path.write_bytes(noise + b"\0{}")
    with pytest.raises(DataError, match=r"damaged journal \(no whole line\)"):
        Journal(path)
    assert path.read_bytes() == noise + b"\0{}"


@pytest.mark.parametrize("noise", [b"\x00\xff" * 40, b'{"version": 2}', b"[" * 10**5 + b"\n"])
def test_noise_is_no_journal(tmp_path, noise):
    path = tmp_path / "t.jsonl"
    path.write_bytes(noise)
    with pytest.raises(DataError, match=r"t\.jsonl: damaged journal"):
        Journal(path)
    assert path.read_bytes() == noise


def test_everything_comes_back(tmp_path):
    path = tmp_path / "t.jsonl"
    journal = Journal(path)
    journal.start(Start(0, {"x": 0.1, "kind": "a"}, 5))
    journal.lose(Lost("trial", 0, 5))
    before = [replace(record(), clock=2.5)]
    journal = Journal(path, earlier=before)
    journal.append(Record("trial", 0, {"x": 0.1}, 5, record().outcome, None, ((1, 0.5), (2, math.nan))))
    again = Journal(path)
    assert (again.starts, again.lost) == (journal.starts, journal.lost)
    (read,) = again.records
    assert read.reports[0] == (1, 0.5)
    assert math.isnan(read.reports[1][1])
    assert again.clock >= 2.5, "the clock goes on where it stopped"


SPACE = Space([Float("lr", 1e-5, 1.0, log=True), Int("n", 1, 4), Categorical("k", ("a", "b"))])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Space([Float("lr", 1e-5, 1.0), *SPACE.dimensions[1:]]),
            "lr is log True, scale log; allowed: log False, scale linear",
        ),
        (Space([SPACE.dimensions[0], Int("n", 1, 9), SPACE.dimensions[2]]), "n is high 4; allowed: high 9"),
        (Space(SPACE.dimensions[:2]), "k is kind Categorical, name k, .*; allowed: not there"),
        (Space([*SPACE.dimensions, Float("z", 0, 1)]), "z is not there; allowed: kind Float"),
        (Space(SPACE.dimensions[::-1]), "in another order"),
    ],
)
def test_a_journal_of_another_space_names_the_parameter(tmp_path, other, message):
    path = tmp_path / "t.jsonl"
    Journal(path).bind(SPACE)
    Journal(path).bind(SPACE)
    with pytest.raises(DataError, match=f"t.jsonl: journal of another space: .*{message}"):
        Journal(path).bind(other)


def test_one_process_writes_and_a_dead_one_holds_nothing(tmp_path):
    path = tmp_path / "t.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=r"t\.jsonl: another process is at work on it"):
            Journal(path)
        assert Journal(path, read_only=True).records == []
        other.send_signal(signal.SIGKILL)
    Journal(path).append(record())
    assert len(Journal(path).records) == 1


def test_reading_alone_repairs_nothing(tmp_path, capsys):
    path = tmp_path / "t.jsonl"
    Journal(path).append(record())
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)
    assert Journal(path, read_only=True).records == []
    assert path.read_bytes() == torn
    assert capsys.readouterr().err == ""
    assert not Journal(tmp_path / "none.jsonl", read_only=True).records
    assert not (tmp_path / "none.jsonl").exists()
