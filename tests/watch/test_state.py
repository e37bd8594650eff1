"""The state of a run, from files that are only read."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from metaft.errors import DataError
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Start
from metaft.watch.state import Looking
from tests.watch.folders import PHASES, choosing, comparing, ended, evaluated, opening, searching


@pytest.mark.parametrize("phase", PHASES)
def test_nothing_is_written_or_locked(phase, tmp_path):
    phase(tmp_path / "run")
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")}
    Looking(tmp_path / "run").now()
    assert before == {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*")}


def test_a_search_half_way(tmp_path):
    searching(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    assert (state.searching, state.ended, state.begun, len(state.trials)) == (True, False, 5, 4)
    assert (state.best.number, state.best.outcome.value) == (2, 1.5)
    assert (state.seconds, state.step_equivalents) == (24.0, 40.0)
    assert state.spent == pytest.approx(4 / 10 * (1 - 0.4))  # more than 40 of 400 step equivalents
    assert state.left == pytest.approx(24 / 0.24 - 24)


def test_the_limit_that_is_nearest_ends_it(tmp_path):
    searching(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("search: {mode: tpe, seconds: 30, step_equivalents: 100}\n")
    state = Looking(tmp_path / "run").now()
    assert (state.spent, state.left) == (24 / 30, pytest.approx(30 - 24))


def test_trials_that_cost_nothing_tell_no_time(tmp_path):
    opening(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("search: {mode: tpe, seconds: null, step_equivalents: 100}\n")
    record, kept = evaluated(0, 2.0), Journal(tmp_path / "run" / PLACE)
    kept.start(Start(0, record.params, record.seed))
    kept.append(replace(record, outcome=replace(record.outcome, step_equivalents=0.0)))
    state = Looking(tmp_path / "run").now()
    assert (state.spent, state.left) == (0.0, None)


def test_the_last_choice_counts_in_cost(tmp_path):
    choosing(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    assert (state.seconds, state.step_equivalents, len(state.trials)) == (36.0, 60.0, 4)


def test_what_follows_the_search(tmp_path):
    comparing(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    assert (state.searching, state.ended, state.event["step"]) == (False, False, 31)
    ended(tmp_path / "run")
    assert Looking(tmp_path / "run").now().ended


def test_what_comes_is_read_once_and_is_what_the_journal_reads(tmp_path):
    opening(tmp_path / "run")
    looking = Looking(tmp_path / "run")
    assert looking.now().records == ()
    choosing(tmp_path / "copy")
    whole, path, counts = (tmp_path / "copy" / PLACE).read_bytes(), tmp_path / "run" / PLACE, []
    path.parent.mkdir()
    for end in range(0, len(whole) + 100, 100):
        path.write_bytes(b"-" * max(0, end - 5000) + whole[max(0, end - 5000) : end])  # what is far behind is not read
        counts.append(len(looking.now().records))
    assert counts == sorted(counts)
    assert looking.now().records == tuple(Journal(tmp_path / "copy" / PLACE, read_only=True).records)


def test_a_folder_that_is_gone_is_told(tmp_path):
    searching(tmp_path / "run")
    looking = Looking(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no folder"):
        looking.now()


def test_lines_that_are_being_written_do_not_count(tmp_path):
    comparing(tmp_path / "run")
    whole = Looking(tmp_path / "run").now()
    for name in (PLACE, "metrics.jsonl"):
        with (tmp_path / "run" / name).open("a") as file:
            file.write('{"kind": "trial", "num')
    torn = Looking(tmp_path / "run").now()
    assert (torn.records, torn.event) == (whole.records, whole.event)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (None, None, "no such folder; allowed: the folder of a run that was begun"),
        ("readme.txt", "", "no run; allowed"),
        ("seeds.json", "{}", "several runs; allowed: the folder of one"),
        ("config.yaml", "learning_rate: 3", "no settings of a run"),
        ("config.yaml", "a: [", "no settings of a run"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path, name, content, said):
    if name is not None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / name).write_text(content)
    with pytest.raises(DataError, match=said):
        Looking(tmp_path / "run").now()


@pytest.mark.parametrize("name", [str(PLACE), "results.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\x00\n", b"[]\n", b"7\n"])
def test_damaged_files_are_named(tmp_path, name, content):
    opening(tmp_path / "run")
    (tmp_path / "run" / "search").mkdir()
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(DataError, match=os.path.basename(name)):  # noqa: PTH119
        Looking(tmp_path / "run").now()


def test_of_several_seeds_one_is_named(tmp_path):
    opening(tmp_path / "seed-1")
    (tmp_path / "seeds.json").touch()
    with pytest.raises(DataError, match=r"such as .*seed-1"):
        Looking(tmp_path).now()
