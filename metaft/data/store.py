"""Decoded pictures on disk, by file: whoever has the same file and model finds it, in this run, its workers or others.

A folder for each reading (see `key`) holds shards. NAME.json says by row whose pixels they are, the digest of a file's
path, size and time, why some cannot be read and what is remarkable about them; NAME.npy has the pixels, where they are
kept. It is written first: a shard without NAME.json is none yet. Nothing in a shard is ever changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metaft.data.arrayfile import ArrayFile, new_array
from metaft.data.decode import Reading, decoders
from metaft.data.decoding import Checked, can_be_read, decode_all
from metaft.data.room import PIXELS, RECORD, bytes_of, keep, make_way, opened
from metaft.data.stored import Files, Stored, version_of
from metaft.errors import DataError, first_line
from metaft.files import write
from metaft.progress import note


@dataclass(frozen=True, eq=False)
class Mapped:
    """Images of arrays on disk, uint8 [N, 3, S, S] each: where each image lies, and the file it was read from."""

    arrays: tuple[Path, ...]
    places: NDArray[np.int64]  # [N, 2], the number of the array, and the row in it
    files: Files

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, S, S].

        Raises:
            DataError: the file of an array is not whole any more.
        """
        places = self.places[list(indices)]
        found = np.empty((len(places), *_readable(self.arrays[0]).shape[1:]), np.uint8)
        starts = np.flatnonzero((np.diff(places, axis=0, prepend=-2) != (0, 1)).any(axis=1))  # of rows in their order
        for first, last in pairwise([*starts.tolist(), len(places)]):
            array, row = places[first].tolist()
            _readable(self.arrays[array]).read(row, found[first:last])
        return torch.from_numpy(found)


class Found(NamedTuple):
    """What is known of a file: the array that its pixels are in, None where they are not kept, and its row there."""

    array: Path | None
    row: int
    fault: str | None
    marks: tuple[str, ...]


def look_up(
    folder: Path, files: Sequence[Stored], reading: Reading, *, pixels: bool, limit: float = inf
) -> list[Found]:
    """What is known of each file, in a folder of the readings; those that nothing is known of are decoded first.

    Processes that ask for the same files at once do not decode them twice: the others wait for the first.

    Args:
        pixels: whether they are needed, or only whether each file can be read.
        limit: bytes that pixels in the folder may take; where they are more, those that no process uses make way.
    """
    place = folder / key(reading)
    place.mkdir(parents=True, exist_ok=True)
    files = Files(files)
    digests = [digest(file) for file in files.kept]
    name = sha256("".join(digests).encode()).hexdigest()[:32]
    with _alone(place / f"{name}.lock"):
        known = _known(place, {*digests}, reading.view.size)
        new = {
            digest: number
            for number, digest in enumerate(digests)
            if _is_needed(known.get(digest), files, number, reading, pixels)
        }
        if new:
            make_way(folder, bytes_of(len(new), reading.view.size) if pixels else 0, limit)
            known |= _added(place, name, list(new), files.at(new.values()), reading, pixels=pixels)
    return [known[digest] for digest in digests]


def checked(found: Sequence[Found]) -> Checked:
    """What came of decoding each file, whenever that was."""
    faults = {number: one.fault for number, one in enumerate(found) if one.fault is not None}
    return Checked(faults, {number: one.marks for number, one in enumerate(found) if one.marks})


def mapped(found: Sequence[Found], files: Sequence[Stored]) -> Mapped:
    """The images of files whose pixels are kept."""
    arrays = tuple(dict.fromkeys(one.array for one in found if one.array is not None))
    numbers: dict[Path | None, int] = {array: number for number, array in enumerate(arrays)}
    places = np.array([(numbers[one.array], one.row) for one in found], np.int64).reshape(-1, 2)
    return Mapped(arrays, places, Files(files))


def missing(folder: Path, files: Sequence[Stored], reading: Reading) -> int:
    """The number of files whose pixels are not kept yet; those of the others do not make way any more."""
    digests = {digest(file) for file in Files(files).kept}
    known = _known(folder / key(reading), digests, reading.view.size)
    return len(digests) - sum(found.array is not None for found in known.values())


def key(reading: Reading) -> str:
    """A name for what becomes of a picture: the versions of decoders, the settings, and the model's view."""
    total = sha256(f"{decoders()} {reading.ground} {reading.exif_rotation}".encode())
    ramp = np.arange(97 * 61 * 3).reshape(97, 61, 3) % 251  # shows the geometry of a model's view
    total.update(reading.view.transform(Image.fromarray(ramp.astype(np.uint8))).numpy().tobytes())
    return total.hexdigest()[:32]


def digest(file: Stored | str) -> str:
    """A name for a file as it is now."""
    return sha256(version_of(file).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _is_needed(found: Found | None, files: Files, number: int, reading: Reading, pixels: bool) -> bool:
    """Whether a file is to be decoded: it was not, its pixels were not kept, or it could not be read and now can."""
    if found is None or (pixels and found.array is None):
        return True
    return found.fault is not None and can_be_read(files[number], reading)


def _added(
    place: Path, name: str, new: Sequence[str], files: Files, reading: Reading, *, pixels: bool
) -> dict[str, Found]:
    """A new shard, of files with these digests."""
    shard = f"{name}-{sha256(''.join(new).encode()).hexdigest()[:8]}"
    array = place / f"{shard}{PIXELS}" if pixels else None
    if array is None:
        done = decode_all(files, reading, lambda *_: None)
    else:
        done = _written(array, place / f"{name}.tmp", files, reading)
    record = {"files": new, "faults": list(done.faults.items()), "marks": list(done.marks.items())}
    write(place / f"{shard}{RECORD}", json.dumps({"pixels": pixels, **record}))
    keep(place / f"{shard}{RECORD}", opened(place / f"{shard}{RECORD}"))
    return {digest: Found(array, row, done.faults.get(row), done.marks.get(row, ())) for row, digest in enumerate(new)}


def _written(array: Path, unfinished: Path, files: Sequence[Stored], reading: Reading) -> Checked:
    """Decode files into an array, which takes its place when it is whole."""
    try:
        with new_array(unfinished, (len(files), 3, reading.view.size, reading.view.size)) as pixels:
            done = decode_all(files, reading, lambda number, found: pixels.write(number, found.numpy()))
        unfinished.replace(array)
    finally:
        unfinished.unlink(missing_ok=True)
    return done


def _known(place: Path, digests: set[str], size: int) -> dict[str, Found]:
    """What the shards in a folder say of these files; of several the one that has most to say.

    The shards that say something stay as they are for as long as this process lives.
    """
    known: dict[str, Found] = {}
    for record in sorted(place.glob(f"*{RECORD}")):
        with suppress(OSError):  # it has just made way
            file = opened(record)
            said = dict(_shard(record, file.read(), digests, size))
            if not said:
                file.close()
                continue
            keep(record, file)
            better = (one for one in said.items() if one[0] not in known or _worth(one[1]) > _worth(known[one[0]]))
            known |= dict(better)
    return known


def _worth(found: Found) -> tuple[bool, bool]:
    return found.fault is None, found.array is not None


def _shard(record: Path, content: bytes, digests: set[str], size: int) -> Iterator[tuple[str, Found]]:
    """What a shard's record says of these files; nothing where it is damaged, or its pixels are gone."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said: dict[str, Any] = json.loads(content)
        array, files = record.with_suffix(PIXELS) if said["pixels"] else None, said["files"]
        if array is not None and opened_array(array).shape != (len(files), 3, size, size):
            return
        faults, marks = dict(said["faults"]), dict(said["marks"])
        for row, digest in enumerate(files):
            if digest in digests:
                yield digest, Found(array, row, faults.get(row), tuple(marks.get(row, ())))


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """A context in which no other process is that has the same lock."""
    held = FileLock(lock)
    with suppress(OSError, NotImplementedError):  # of a file system without locks, on which both decode
        try:
            held.acquire(timeout=0)
        except Timeout:
            note("another process decodes the same pictures: waiting for it")
            held.acquire()
    try:
        yield
    finally:
        held.release()


opened_array = lru_cache(maxsize=64)(ArrayFile)


def _readable(path: Path) -> ArrayFile:
    """The pixels in a file.

    Raises:
        DataError: it is not there any more, or not whole.
    """
    try:
        return opened_array(path)
    except (OSError, ValueError) as error:
        allowed = "as it was written; deleted, its pictures are decoded again"
        raise DataError(f"{path}: {first_line(error)}; allowed: {allowed}") from error
