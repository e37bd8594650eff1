"""What is read ahead is the same, in the same order, and nobody is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from metaft.data import decoded, objects
from metaft.data.ahead import ahead, processes
from metaft.data.decoded import ImageFiles
from metaft.errors import DataError
from metaft.progress import heard
from metaft.training.batches import TrainBatches
from tests.data.suites import VIEW as SQUARE
from tests.data.test_folder import load
from tests.data.test_objects import CLASSES, pictures


def squares(number: int) -> torch.Tensor:
    return torch.tensor([number**2, os.getpid()])


def squares_below(limit: int, number: int) -> torch.Tensor:
    if number >= limit:
        raise DataError(f"{number}: too large")
    return squares(number)


def killed_at(fatal: int, number: int) -> torch.Tensor:
    if number == fatal and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(number)


@pytest.mark.parametrize("count", [0, 1, 3, 99])
def test_numbers_come_in_their_order(count):
    before = torch.get_rng_state()
    found = torch.stack(list(ahead(squares, range(3, 12), count)))
    assert found[:, 0].tolist() == [n**2 for n in range(3, 12)]
    assert (os.getpid() in found[:, 1]) == (count == 0)
    assert len(found[:, 1].unique()) == (min(count, 9) or 1)
    assert torch.equal(torch.get_rng_state(), before), "no number of anyone's is drawn"
    assert multiprocessing.active_children() == []


def test_a_fault_comes_in_its_turn_and_in_its_words():
    found = ahead(partial(squares_below, 5), range(9), 2)
    assert [int(next(found)[0]) for _ in range(5)] == [0, 1, 4, 9, 16]
    with pytest.raises(DataError) as caught:
        next(found)
    assert str(caught.value) == "5: too large"
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_is_done_without(capsys):
    found = list(ahead(partial(killed_at, 4), range(8), 2))
    assert [int(square) for square, _ in found] == [n**2 for n in range(8)]
    said = capsys.readouterr().err
    assert said.startswith("warning: pictures are no longer decoded ahead, since that failed: ")
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL, "nothing is raised in the middle of something else"
    assert multiprocessing.active_children() == []


def test_whoever_stops_early_ends_them():
    found = ahead(squares, range(100), 2)
    next(found)
    assert len(multiprocessing.active_children()) == 2
    found.close()
    assert multiprocessing.active_children() == []


@pytest.mark.full
def test_they_end_with_a_process_that_is_killed():
    code = (
        "import sys, multiprocessing as m; from tests.data.test_ahead import *; found = ahead(squares, range(99), 2)\n"
    )
    code += "next(found); print(*(child.pid for child in m.active_children()), flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, children))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_how_many(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert (processes(None), processes(0), processes(3)) == (6, 0, 3)
    monkeypatch.setattr("metaft.ranks.count", lambda: 4)
    assert processes(None) == 1
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert processes(None) == 8
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert processes(4) == 0, "a worker of a search"


@pytest.fixture
def late(picture_tree):
    """Splits whose pictures are decoded as they are asked for, by how many processes decode ahead."""
    return lambda workers: load(picture_tree, on_unreadable="late", workers=workers)


def batches(splits, first: int = 1) -> list:
    source = TrainBatches(splits.id_train, None, None, "cpu", {"ood_val": splits.ood_val})
    return list(source.drawn(5, 4, torch.Generator().manual_seed(0)).following(first))


def test_batches_are_the_same_however_many_decode(late):
    expected = None
    for workers in (0, 2):
        splits = late(workers)
        assert isinstance(splits.id_train.source, ImageFiles)
        assert splits.id_train.readers == splits.ood_val.readers == splits.id_train.subset(torch.arange(3)).readers
        found = [(b.images, b.labels, *b.sources["ood_val"][:2]) for b in batches(splits)]
        found += [(b.images, b.labels) for b in splits.ood_val.batches(7)]
        if expected is None:
            expected = found
        for one, other in zip(expected, found, strict=True):
            assert all(map(torch.equal, one, other))


def test_kept_pictures_need_nobody(picture_tree):
    assert load(picture_tree, workers=3).id_train.readers == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_goes_bad_in_training_is_named(late, picture_tree, workers):
    splits, bad = late(workers), picture_tree / "id_train/dark_square/3.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        batches(splits, 0)
    assert str(caught.value).startswith(f"{bad}: unreadable image (")
    assert "Traceback" not in str(caught.value)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_own_datasets_beyond_memory(monkeypatch, workers):
    """Where the settings ask for it: what a person's own code has open may not bear several processes."""
    monkeypatch.setattr(objects, "MEMORY", 0)
    given = {"id_train": pictures(12, 0), "ood_val": pictures(6, 1), "id_test": pictures(4, 2)}
    splits = objects.splits_of(given, CLASSES, SQUARE, None, 0, workers=workers)
    assert splits.id_train.readers == splits.id_val.readers == workers
    found = torch.cat([batch.images for batch in splits.ood_val.batches(2)])
    assert torch.equal(found, SQUARE.normalise(torch.stack([image for image, _ in given["ood_val"]])))
    drawn = TrainBatches(splits.id_train, None, None, "cpu").drawn(3, 4, torch.Generator())
    for (indices, _), batch in zip(drawn.draws, drawn.following(0), strict=True):
        assert torch.equal(batch.images, splits.id_train.batch(indices).images)


@pytest.mark.parametrize("workers", [0, 2])
def test_where_it_may_be_skipped_another_of_its_class_stands_in(picture_tree, tmp_path, monkeypatch, capsys, workers):
    """Told once, by this process, whoever found it."""
    monkeypatch.setattr(decoded, "MEMORY", 0)
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    dark = picture_tree / "id_train/dark_square"
    bad, there = (next(path for path in dark.iterdir() if (path.stem == stem)) for stem in ("3", "4"))
    splits = load(picture_tree, on_unreadable="skip", cache_gib=0, workers=workers)
    whole = batches(splits, 0)
    bad.write_bytes(b"no picture")
    with heard() as warned:
        found = [*batches(splits, 0), *batches(splits, 0)]
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warned == [said.removeprefix("warning: ")]
    assert said.startswith(f"warning: skipped: {bad}: unreadable image (")
    assert said.endswith(f"); {there} stands in for it")
    assert [b.labels.tolist() for b in found] == [b.labels.tolist() for b in [*whole, *whole]]
    for path in dark.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="nor can others of its class; allowed: files that can be read until the end"):
        batches(splits, 0)
