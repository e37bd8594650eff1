"""What makes way on a disk: pictures that no process uses, those used longest ago first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metaft.data import decoded, room
from metaft.data.decode import Reading
from metaft.data.decoded import in_memory, on_disk
from tests.data.test_folder import VIEW, load

SHARD = 5 * 3 * 32**2 + 128  # bytes of five pictures and a header
READING = Reading(VIEW)


@pytest.fixture
def parts(picture_tree) -> list[list[Path]]:
    """Four listings of five files."""
    files = sorted((picture_tree / "id_train").rglob("*.png"))
    return [files[i : i + 5] for i in range(0, 20, 5)]


@pytest.fixture
def shards(parts, tmp_path) -> list[Path]:
    """The records of the first three, the first of which was used last, and none of which is used now."""
    records = []
    for number, part in enumerate(parts[:3]):
        on_disk(tmp_path, part, READING)
        (record,) = {*tmp_path.rglob("*.json")} - {*records}
        os.utime(record, (100 - number, 100 - number))
        records.append(record)
    ended()
    return records


def ended() -> None:
    """As if the process had ended."""
    room.let_go()


def there(shards: list[Path]) -> list[bool]:
    found = [record.exists() for record in shards]
    assert found == [record.with_suffix(".npy").exists() for record in shards]
    return found


@pytest.mark.parametrize(
    ("limit", "left"),
    [(4, [True] * 3), (3, [True, True, False]), (2, [True, False, False]), (0, [False] * 3)],
)
def test_the_oldest_makes_way(parts, shards, tmp_path, limit, left):
    on_disk(tmp_path, parts[3], READING, limit=limit * SHARD)
    assert there(shards) == left
    assert len([*tmp_path.rglob("*.npy")]) == sum(left) + 1, "the new one is there whatever the others take"


def test_what_was_used_again_is_young(parts, shards, tmp_path):
    on_disk(tmp_path, parts[2], READING)
    ended()
    on_disk(tmp_path, parts[3], READING, limit=2 * SHARD)
    assert there(shards) == [False, False, True]


def test_what_a_process_uses_stays(parts, shards, tmp_path):
    _, source = on_disk(tmp_path, parts[1], READING)
    on_disk(tmp_path, parts[3], READING, limit=0)
    assert there(shards) == [False, True, False]
    assert torch.equal(source(range(5)).pixels(range(5)), in_memory(parts[1], READING)[1](range(5)).array)


def test_splits_of_a_run_do_not_make_way_for_each_other(picture_tree, tmp_path, monkeypatch):
    """Also where they are there from an earlier run, and older than all else."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "MEMORY", 0)
    load(picture_tree)
    records = sorted((tmp_path / "cache").rglob("*.json"))
    before = [record.stat().st_ino for record in records]
    ended()
    file = picture_tree / "id_train/dark_square/3.png"
    file.write_bytes((picture_tree / "id_train/light_square/3.png").read_bytes())
    load(picture_tree, cache_gib=120 * 3 * 32**2 / 2**30)
    assert [record.stat().st_ino for record in records] == before
    assert len([*(tmp_path / "cache").rglob("*.json")]) == len(records) + 1


def test_what_another_process_uses_stays_until_it_ends(parts, shards, tmp_path):
    code = "import sys, pathlib as p; from metaft.data import room\n"
    code += "r = p.Path(sys.argv[1]); room.keep(r, room.opened(r)); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(shards[2])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    room.make_way(tmp_path, 0, 0)
    assert there(shards) == [False, False, True]
    process.kill()
    process.communicate()
    room.make_way(tmp_path, 0, 0)
    assert there(shards) == [False] * 3


def test_a_record_that_has_made_way_is_none(parts, shards, tmp_path):
    room.make_way(tmp_path, 0, 0)
    with pytest.raises(OSError, match="No such file"):
        room.opened(shards[0])
    again = on_disk(tmp_path, parts[0], READING)[1](range(5))
    assert torch.equal(again.pixels(range(5)), in_memory(parts[0], READING)[1](range(5)).array)


def test_a_record_that_was_written_anew_is_held_too(parts, shards, tmp_path):
    """Under the name of a damaged one that this process has used before."""
    on_disk(tmp_path, parts[0], READING)
    shards[0].unlink()
    on_disk(tmp_path, parts[0], READING)
    room.make_way(tmp_path, 0, 0)
    assert there(shards) == [True, False, False]


def test_without_locks_nothing_makes_way(parts, shards, tmp_path, monkeypatch):
    """As on some file systems, where two that begin at once both decode."""

    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(room.fcntl, "flock", refused)
    for part in (parts[0], parts[3]):
        found = on_disk(tmp_path, part, READING)[1](range(5)).pixels(range(5))
        assert torch.equal(found, in_memory(part, READING)[1](range(5)).array)
    room.make_way(tmp_path, 0, 0)
    assert there(shards) == [True] * 3
