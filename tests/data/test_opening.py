"""What it takes to open many small files: how often each is opened, and the memory that is kept of it."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaft.data import decoded
from metaft.data.arrayfile import ArrayFile, new_array
from metaft.data.duplicates import compared
from metaft.data.stored import Files
from metaft.errors import DataError
from tests.data.test_folder import load

OPENED: list[str] = []  # the paths that this process has opened, while LISTENING
LISTENING: list[bool] = []


def _listen(event: str, args: tuple) -> None:
    if LISTENING and event == "open" and isinstance(args[0], str | Path):
        OPENED.append(str(args[0]))


sys.addaudithook(_listen)


@pytest.fixture
def on_disk(monkeypatch, tmp_path):
    """Decoded pictures go on disk, however few they are."""
    monkeypatch.setattr(decoded, "FEW", 0)
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))


def many(root: Path, count: int) -> Path:
    """Class folders of small pictures, most of them in id_train."""
    for number in range(count):
        split = ("id_val", "ood_val", "id_test", "ood_test/other")[number // 4 % 4] if number < 64 else "id_train"
        place = root / split / f"class {number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(255, size=(4, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return root


def test_each_file_is_opened_once(tmp_path, on_disk):
    root = many(tmp_path / "many", 200)
    OPENED.clear()
    LISTENING.append(True)
    try:
        compared(load(root))
    finally:
        LISTENING.clear()
    counts = Counter(path for path in OPENED if path.endswith(".png"))
    assert len(counts) == 200
    assert {*counts.values()} == {1}


def kept_and_peak(root: Path) -> tuple[int, int]:
    """Bytes of Python that opened splits keep, and those at the most while they are opened."""
    tracemalloc.start()
    try:
        splits = compared(load(root))
        assert len(splits.id_train)
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def test_little_memory_is_kept_of_a_file(tmp_path, on_disk):
    """Of each its path as text, its label and its place: slopes, since what is imported and cached is there once."""
    kept_and_peak(many(tmp_path / "first", 1200))
    (least, low), (most, high) = (kept_and_peak(many(tmp_path / str(n), n)) for n in (1200, 2400))
    assert (most - least) / 1200 < 300
    assert (high - low) / 1200 < 450


def test_a_path_is_kept_as_its_text():
    files = Files([Path("a/b.png"), "c.png"])
    assert files.kept == ["a/b.png", "c.png"]
    assert list(files) == [Path("a/b.png"), Path("c.png")]
    assert files[1] == Path("c.png")
    assert files[:1] == Files(["a/b.png"])
    assert files.at([1, 0, 1]).kept == ["c.png", "a/b.png", "c.png"]


def test_rows_of_an_array_are_read_from_their_places(tmp_path):
    array = np.random.default_rng(0).integers(256, size=(5, 3, 4, 4)).astype(np.uint8)
    with new_array(tmp_path / "a.npy", array.shape) as file:
        for row in (3, 0, 4, 2):
            file.write(row, array[row])
    array[1] = 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), array), "in numpy's form, zeros where nothing was written"
    found = np.empty((2, 3, 4, 4), np.uint8)
    ArrayFile(tmp_path / "a.npy").read(2, found)
    assert np.array_equal(found, array[2:4])


def test_an_array_that_has_become_shorter_is_named(tmp_path):
    with new_array(tmp_path / "a.npy", (5, 3, 4, 4)):
        pass
    array = ArrayFile(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:300])
    with pytest.raises(DataError, match=r"a\.npy: it has become shorter; allowed: as it was written"):
        array.read(3, np.empty((1, 3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="not all of it"):
        ArrayFile(tmp_path / "a.npy")
