"""Where decoded pictures are kept: all three ways give the same, and what is kept on disk is decoded once."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data import decoded, decoding
from metaft.data.decode import Reading
from metaft.data.decoded import Decoded, ImageFiles
from metaft.data.store import Mapped
from metaft.errors import DataError
from tests.data.test_folder import VIEW, load

LIMITS = {"disk": 1.0, "nowhere": 0.0}  # data.cache_gib


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


@pytest.fixture(params=LIMITS)
def limit(request, cache, monkeypatch) -> float:
    """For sets that memory does not hold."""
    monkeypatch.setattr(decoded, "MEMORY", 120 * 3 * 32**2 - 1)  # the tree has 120 pictures in all
    return LIMITS[request.param]


def without_decoding(monkeypatch) -> None:
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded once more"))


def test_what_fits_is_in_memory_and_nothing_on_disk(picture_tree, cache):
    assert all(isinstance(split.source, Decoded) for split in load(picture_tree).parts.values())
    assert not cache.exists()


def test_more_is_on_disk_and_in_memory_where_that_has_no_room(picture_tree, cache, monkeypatch):
    """So that neither workers nor the next run decode it again."""
    monkeypatch.setattr(decoded, "FEW", 120 * 3 * 32**2 - 1)
    assert isinstance(load(picture_tree).id_train.source, Mapped)
    assert isinstance(load(picture_tree, cache_gib=0).id_train.source, Decoded)


def test_all_ways_give_the_same(picture_tree, limit, monkeypatch):
    found = load(picture_tree, cache_gib=limit).parts
    kind = Mapped if limit else ImageFiles
    assert all(isinstance(split.source, kind) for split in found.values())
    monkeypatch.setattr(decoded, "MEMORY", 2**30)
    for name, split in load(picture_tree).parts.items():
        rows = torch.randperm(20)[:7].tolist()
        assert torch.equal(found[name].source.pixels(rows), split.source.pixels(rows))
        assert torch.equal(found[name].labels, split.labels)
        again = pickle.loads(pickle.dumps(found[name].source))
        assert torch.equal(again.pixels(rows), split.source.pixels(rows)), "a worker reads the same"


def test_a_second_opening_decodes_nothing(picture_tree, limit, monkeypatch, capsys):
    (picture_tree / "id_train/dark_square/3.png").write_bytes(b"no picture")
    first = load(picture_tree, cache_gib=limit, on_unreadable="skip")
    told = capsys.readouterr().err
    before = None if limit == 0 else first.id_train.source.pixels(range(19))
    tried, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda file, reading: tried.append(file) or decode(file, reading))
    second = load(picture_tree, cache_gib=limit, on_unreadable="skip")
    assert tried == [picture_tree / "id_train/dark_square/3.png"], "but what could not be read, which may be there now"
    assert capsys.readouterr().err == told, "and says the same of it"
    assert second.id_train.counts(2) == [9, 10]
    if before is not None:
        assert torch.equal(second.id_train.source.pixels(range(19)), before)
    with pytest.raises(DataError, match="1 of 20 images unreadable"):
        load(picture_tree, cache_gib=limit)


@pytest.mark.parametrize("change", ["file", "ground", "exif_rotation", "view"])
def test_what_would_be_other_pixels_is_decoded_again(picture_tree, limit, change, monkeypatch):
    load(picture_tree, cache_gib=limit)
    without_decoding(monkeypatch)
    changes = {"ground": {"ground": "black"}, "exif_rotation": {"exif_rotation": True}}.get(change, {})
    if change == "file":
        path = picture_tree / "id_train/dark_square/3.png"
        path.write_bytes((picture_tree / "id_train/light_square/3.png").read_bytes())
    if change == "view":
        monkeypatch.setattr("tests.data.test_folder.VIEW", decoded_view(fill=1))
    with pytest.raises(pytest.fail.Exception, match="decoded once more"):
        load(picture_tree, cache_gib=limit, **changes)


def decoded_view(fill: int):
    from metaft.clip.load import image_view
    from tests.data.test_folder import PREPROCESS

    return image_view({**PREPROCESS, "interpolation": "bilinear", "resize_mode": "shortest", "fill_color": fill})


def test_an_interrupted_decoding_leaves_nothing_behind(picture_tree, cache, monkeypatch):
    monkeypatch.setattr(decoded, "MEMORY", 0)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(picture_tree)
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} <= {".lock"}


def test_a_file_that_is_damaged_later_is_named(picture_tree, limit):
    split = load(picture_tree, cache_gib=limit).id_train
    path = picture_tree / "id_train/dark_square/3.png"
    path.write_bytes(b"gone bad")
    if limit:
        assert split.source.pixels([3]).shape == (1, 3, 32, 32), "it was read before"
    else:
        with pytest.raises(DataError, match=rf"{path}: unreadable image"):
            split.source.pixels([3])


def test_a_cache_that_cannot_be_written_to_is_done_without(picture_tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(decoded, "MEMORY", 0)
    assert isinstance(load(picture_tree).id_train.source, ImageFiles)
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    usage, full = decoded.shutil.disk_usage, lambda _: decoded.shutil._ntuple_diskusage(100, 100, 10)
    monkeypatch.setattr(decoded.shutil, "disk_usage", full)
    assert isinstance(load(picture_tree).id_train.source, ImageFiles)
    monkeypatch.setattr(decoded.shutil, "disk_usage", usage)
    load(picture_tree)
    monkeypatch.setattr(decoded.shutil, "disk_usage", full)
    assert isinstance(load(picture_tree).id_train.source, Mapped), "what is there needs no room"


def test_splits_that_are_opened_apart_share_the_limits(picture_tree, cache, monkeypatch):
    files, size = sorted((picture_tree / "id_train").rglob("*.png")), 3 * 32**2
    reading = Reading(VIEW)
    monkeypatch.setattr(decoded, "MEMORY", 25 * size)
    assert decoded.keeping(files, reading, 0.0, others=5) is decoded.in_memory
    assert decoded.keeping(files, reading, 26 * size, others=6).func is decoded.on_disk
    assert decoded.keeping(files, reading, 25 * size, others=6).func is decoded.when_asked


@pytest.mark.parametrize(("size", "alone"), [(8, True), (256, False)])
def test_small_files_are_decoded_by_one_thread(tmp_path, size, alone):
    """And those that are not there are no reason to fail before each file is judged."""
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files[:2]:
        Image.fromarray(rng.integers(255, size=(size, size, 3)).astype(np.uint8)).save(file)
    assert (decoding._threads(files) == 1) == (alone or os.cpu_count() == 1)
    files[2].symlink_to(tmp_path / "nothing")
    assert decoding._threads(files[2:]) == 1


def test_a_fault_of_one_moment_is_not_remembered(picture_tree, limit, monkeypatch):
    """A disk that fails once, or a decoder that was not installed: the file is there, and the same."""
    bad, decode = picture_tree / "id_train/dark_square/3.png", decoding.decode

    def failing(file, reading):
        if file == bad:
            raise DataError("input/output error")
        return decode(file, reading)

    monkeypatch.setattr(decoding, "decode", failing)
    assert load(picture_tree, cache_gib=limit, on_unreadable="skip").id_train.counts(2) == [9, 10]
    monkeypatch.setattr(decoding, "decode", decode)
    assert load(picture_tree, cache_gib=limit).id_train.counts(2) == [10, 10]
    without_decoding(monkeypatch)
    assert load(picture_tree, cache_gib=limit).id_train.counts(2) == [10, 10]
