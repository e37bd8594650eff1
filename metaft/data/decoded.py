"""Decoded pictures at the model's size: in memory, in a file on disk, or decoded whenever they are asked for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metaft.data.decode import Reading, decode, quiet
from metaft.data.stored import Stored, size_of, version_of
from metaft.data.types import ImageSource, PixelArray
from metaft.errors import DataError
from metaft.files import cache_folder, nearest_existing, unwritable, write
from metaft.progress import note, track

MEMORY = 2 * 2**30  # bytes of pixels kept for a split in memory
SPARE = 0.8  # the share of a disk's free room that pictures may take
CHUNK = 1024  # files whose decoding is under way
SMALL = 6_000  # bytes of a file
TASK = 32  # files that a thread takes at a time: handing over one costs as much as decoding a small one


@dataclass(frozen=True)
class Checked:
    """What came of decoding every file: why some cannot be read, and what is remarkable, both by number."""

    faults: Mapping[int, str]
    marks: Mapping[int, tuple[str, ...]]


Take = Callable[[int, Tensor], None]  # takes the pixels of a file's number
Source = Callable[[Sequence[int]], ImageSource]  # of the numbers of the files that are kept
Keeping = Callable[[Sequence[Stored], Reading], tuple[Checked, Source]]


@dataclass(frozen=True)
class Decoded(PixelArray):
    """Images held in memory, and the files they were read from."""

    files: tuple[Stored, ...]


@dataclass(frozen=True)
class Mapped:
    """Images of an array on disk, uint8 [N, 3, S, S]: its rows that are kept, and the files they were read from."""

    array: Path
    rows: tuple[int, ...]
    files: tuple[Stored, ...]

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, S, S]."""
        return torch.from_numpy(_mapped(self.array)[[self.rows[i] for i in indices]])


@dataclass(frozen=True)
class ImageFiles:
    """Images decoded when asked for."""

    files: tuple[Stored, ...]
    reading: Reading

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, S, S]."""
        with quiet():
            return torch.stack([decode(self.files[i], self.reading).pixels for i in indices])


def keeping(count: int, reading: Reading, limit: float) -> Keeping:
    """Where so many pictures are kept: in memory up to `MEMORY` bytes, else on disk where there is room, else nowhere.

    Args:
        limit: bytes that they may take on disk.
    """
    size, folder = count * 3 * reading.view.size**2, cache_folder() / "pictures"
    if size <= MEMORY:
        return in_memory
    reason = unwritable(folder) or _no_room(size, limit, folder)
    if reason is None:
        return partial(on_disk, folder)
    note(f"pictures are decoded whenever they are asked for: {reason}")
    return partial(when_asked, folder)


def in_memory(files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode every file and keep its pixels."""
    array = torch.empty(len(files), 3, reading.view.size, reading.view.size, dtype=torch.uint8)
    checked = _decoded(files, reading, array.__setitem__)

    def source(kept: Sequence[int]) -> ImageSource:
        return Decoded(array[kept] if checked.faults else array, reading.view.size, _of(files, kept))

    return checked, source


def on_disk(folder: Path, files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode every file into an array in a folder, once for files, model and settings that are the same."""
    place = folder / f"{_fingerprint(files, reading)}.npy"
    checked = _known(place.with_suffix(".json"), files, reading) if place.exists() else None
    if checked is None:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f"{place.stem}.{os.getpid()}.tmp")
        shape = (len(files), 3, reading.view.size, reading.view.size)
        array = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        try:
            checked = _decoded(files, reading, lambda number, pixels: array.__setitem__(number, pixels.numpy()))
            array.flush()
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
        _remember(checked, place.with_suffix(".json"))
    return checked, lambda kept: Mapped(place, tuple(kept), _of(files, kept))


def when_asked(folder: Path, files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode every file once, to know which can be read; what came of it is remembered in a folder, if that can be."""
    place = folder / f"{_fingerprint(files, reading)}.json"
    checked = _known(place, files, reading)
    if checked is None:
        checked = _decoded(files, reading, lambda *_: None)
        if unwritable(folder) is None:
            folder.mkdir(parents=True, exist_ok=True)
            _remember(checked, place)
    return checked, lambda kept: ImageFiles(_of(files, kept), reading)


def unchecked(files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode no file before it is asked for."""
    return Checked({}, {}), lambda kept: ImageFiles(_of(files, kept), reading)


def _decoded(files: Sequence[Stored], reading: Reading, take: Take) -> Checked:
    """Decode every file, several at a time."""
    faults: dict[int, str] = {}
    marks: dict[int, tuple[str, ...]] = {}

    def attempt(number: int) -> None:
        try:
            picture = decode(files[number], reading)
        except DataError as error:
            faults[number] = str(error)
            return
        take(number, picture.pixels)
        if picture.marks:
            marks[number] = tuple(sorted(picture.marks))

    def several(numbers: Sequence[int]) -> None:
        for number in numbers:
            attempt(number)

    with quiet(), ThreadPoolExecutor(_threads(files)) as pool:
        for chunk in track(_parts(range(len(files)), CHUNK), "decoding", unit="chunk"):
            list(pool.map(several, _parts(chunk, TASK)))
    return Checked(dict(sorted(faults.items())), dict(sorted(marks.items())))


def _threads(files: Sequence[Stored]) -> int:
    """How many decode at a time: one for each processor, or one alone where files are small.

    Decoders run beside each other, but what Python does around them does not, and threads that wait for it in turns
    take half as long again. Below `SMALL` bytes that is most of the work.
    """
    some = files[:: max(1, len(files) // 64)]
    return 1 if sum(map(_size, some)) < SMALL * len(some) else os.cpu_count() or 1


def _size(stored: Stored) -> int:
    """Bytes; 0 of what is not there, which decoding will find."""
    try:
        return size_of(stored)
    except (OSError, ValueError):
        return 0


def _parts(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def _of(files: Sequence[Stored], kept: Sequence[int]) -> tuple[Stored, ...]:
    return tuple(files[number] for number in kept)


def _no_room(size: int, limit: float, folder: Path) -> str | None:
    """Why so many bytes do not go into a folder; None: they do."""
    place = nearest_existing(folder)
    free = SPARE * shutil.disk_usage(place).free
    if size > limit:
        return f"they would take {size / 2**30:.1f} GiB on disk; data.cache_gib is {limit / 2**30:g}"
    return f"they would take {size / 2**30:.1f} GiB; {free / 2**30:.1f} are free at {place}" if size > free else None


def _fingerprint(files: Sequence[Stored], reading: Reading) -> str:
    """A name for what decoding these files gives: by where they lie and what becomes of a picture."""
    digest = sha256(f"{PIL.__version__} {reading.ground} {reading.exif_rotation}".encode())
    ramp = np.arange(97 * 61 * 3).reshape(97, 61, 3) % 251  # shows the geometry of a model's view
    digest.update(reading.view.transform(Image.fromarray(ramp.astype(np.uint8))).numpy().tobytes())
    for file in files:
        digest.update(f"{version_of(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _remember(checked: Checked, place: Path) -> None:
    write(place, json.dumps({"faults": list(checked.faults.items()), "marks": list(checked.marks.items())}))


def _known(place: Path, files: Sequence[Stored], reading: Reading) -> Checked | None:
    """What came of decoding the same files before; None: they have not been, or one that could not be read now can."""
    if not place.exists():
        return None
    found = json.loads(place.read_text(encoding="utf-8"))
    checked = Checked(dict(found["faults"]), {number: tuple(marks) for number, marks in found["marks"]})
    return None if any(_readable(files[number], reading) for number in checked.faults) else checked


def _readable(file: Stored, reading: Reading) -> bool:
    """Whether a file can be read: a disk has moments, and a plugin may have come."""
    try:
        decode(file, reading)
    except DataError:
        return False
    return True


@lru_cache(maxsize=64)
def _mapped(place: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(place, mmap_mode="r")
    return array
