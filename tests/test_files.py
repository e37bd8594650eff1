"""Writing files: what cannot be written to is named, and leaves nothing half-written behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metaft.files import Added, append, cache_folder, write
from metaft.report.figures import id_against_ood
from tests.results import RESULTS

FULL = Path("/dev/full")
NO_ROOM = "No space left on device: '{}'"


@pytest.fixture
def full(tmp_path) -> Path:
    """A path beside which, and at which, there is no room."""
    if not FULL.exists():
        pytest.skip("no device here that is always full")
    path = tmp_path / "file"
    for place in (path, tmp_path / "file.tmp"):
        place.symlink_to(FULL)
    return path


@pytest.mark.parametrize(
    "attempt",
    [
        lambda path: write(path, "text"),
        lambda path: append(path, "line"),
        lambda path: id_against_ood([RESULTS.to_dict()], path),
    ],
    ids=["write", "append", "figure"],
)
def test_a_file_without_room_is_named(full, attempt):
    """The system names none where one that is open cannot be written to."""
    with pytest.raises(OSError, match=NO_ROOM.format(full)):
        attempt(full)


def test_what_was_half_written_is_deleted(full):
    with pytest.raises(OSError, match="No space"):
        write(full, "text")
    assert not full.with_name("file.tmp").is_symlink()


def test_lines_that_others_add_are_given_once_and_whole(tmp_path):
    path, told = tmp_path / "file", []
    added = Added(path)
    assert added.new() == []
    for piece in (b"a", b"b\nc", b"\n", b"", b"d\xff\ne"):
        with path.open("ab") as file:
            file.write(piece)
        told.append(added.new())
    assert told == [[], [b"ab"], [b"c"], [], [b"d\xff"]]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        Added(tmp_path / "pipe").new()


@pytest.mark.parametrize("named", ["~/cache", "$HOME/cache", "${HOME}/cache", "/home/me/cache"])
def test_the_cache_may_be_named_as_other_paths(monkeypatch, named):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("METAFT_CACHE", named)
    assert cache_folder() == Path("/home/me/cache")
    monkeypatch.setenv("METAFT_CACHE", "")
    assert cache_folder() == Path("/home/me/.cache/metaft")
