"""Decoded pictures on disk: each file once, whichever splits, seeds and processes ask for it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from metaft.data import decode, decoding, store
from metaft.data.decode import Reading
from metaft.data.decoded import in_memory, on_disk, when_asked
from tests.data.test_folder import VIEW

READING = Reading(VIEW)


@pytest.fixture
def files(picture_tree) -> list[Path]:
    return sorted((picture_tree / "id_train").rglob("*.png"))


@pytest.fixture
def tried(monkeypatch) -> list[Path]:
    """The files that are decoded, in order."""
    seen, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda file, reading: seen.append(file) or decode(file, reading))
    return seen


def pixels(folder: Path, files: list[Path]) -> torch.Tensor:
    return on_disk(folder, files, READING)[1](range(len(files))).pixels(range(len(files)))


def test_listings_share_files(files, tmp_path, tried):
    """As those of two seeds that draw few pictures of a class do."""
    first, second = files[:12], files[::-2]
    whole = in_memory(files, READING)[1](range(20)).pixels(range(20))
    tried.clear()
    assert torch.equal(pixels(tmp_path, first), whole[:12])
    assert torch.equal(pixels(tmp_path, second), whole.flip(0)[::2])
    assert sorted(tried) == sorted({*first, *second}), "each file once"
    rows = [0, 9, 3, 3]
    assert torch.equal(on_disk(tmp_path, files, READING)[1](range(20)).pixels(rows), whole[rows])
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))
    assert kept == 20 * 3 * 32**2 + 3 * 128, "three shards with a header each"


def test_a_file_that_is_listed_twice(files, tmp_path, tried):
    found = pixels(tmp_path, [files[0], files[3], files[0]])
    assert torch.equal(found[0], found[2])
    assert len(tried) == 2


def test_processes_that_begin_at_once_decode_once(files, tmp_path, tried):
    """Threads here: the lock is of whoever has opened its file."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: pixels(tmp_path, files), range(4)))
    assert sorted(tried) == files
    assert all(torch.equal(found[0], other) for other in found[1:])


def _sum(source) -> int:
    return int(source.pixels(range(20)).sum())


def test_another_process_reads_the_same(files, tmp_path):
    source = on_disk(tmp_path, files, READING)[1](range(20))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_sum, (source,)) == _sum(source)


@pytest.mark.parametrize("change", ["ground", "exif_rotation", "decoders", "file"])
def test_other_pixels_are_decoded_again(files, tmp_path, tried, change, monkeypatch):
    before = store.key(READING)
    pixels(tmp_path, files)
    tried.clear()
    pixels(tmp_path, files)
    assert tried == [], "nothing has changed"
    if change == "file":
        files[4].write_bytes(files[15].read_bytes())
        pixels(tmp_path, files)
        assert tried == [files[4]]
        return
    if change == "decoders":
        monkeypatch.setattr(store, "decoders", lambda: "of tomorrow")
    other = {"ground": {"ground": "black"}, "exif_rotation": {"exif_rotation": True}}.get(change, {})
    assert store.key(Reading(VIEW, **other)) != before
    assert f"Pillow {decode.PIL.__version__}" in decode.decoders()


@pytest.mark.parametrize("damage", ["no pixels", "half the pixels", "no record", "another record", "half a record"])
def test_a_damaged_shard_is_none(files, tmp_path, tried, damage):
    whole = pixels(tmp_path, files)
    (array,), (record,) = tmp_path.rglob("*.npy"), tmp_path.rglob("*.json")
    store.opened_array.cache_clear()
    tried.clear()
    if damage == "no pixels":
        array.unlink()
    elif damage == "half the pixels":
        array.write_bytes(array.read_bytes()[:4000])
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("[1, 2]" if damage == "another record" else record.read_text()[:-9])
    assert torch.equal(pixels(tmp_path, files), whole)
    assert sorted(tried) == files


def test_what_was_tried_without_keeping_pixels_is_decoded_for_them(files, tmp_path, tried):
    files[2].write_bytes(b"no picture")
    done, _ = when_asked(tmp_path, files, READING)
    assert list(done.faults) == [2]
    kept, _ = on_disk(tmp_path, files, READING)
    assert kept == done
    assert len(tried) == 20 + 20
    tried.clear()
    assert when_asked(tmp_path, files[::-1], READING)[0].faults == {17: done.faults[2]}
    assert tried == [files[2]], "it might be a picture now"
