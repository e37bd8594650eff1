"""Where decoded pictures are kept: in memory, on disk, or nowhere, to be decoded as they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path

import torch
from torch import Tensor

from metaft.data.decode import Reading, decode
from metaft.data.decoding import Checked, decode_all
from metaft.data.room import bytes_of, taken
from metaft.data.store import checked, look_up, mapped, missing
from metaft.data.stored import Files, Stored
from metaft.data.types import ImageSource, PixelArray
from metaft.errors import DataError, without_allowed
from metaft.files import cache_folder, nearest_existing, unwritable
from metaft.progress import note, warn_once

MEMORY = 2 * 2**30  # bytes of pixels kept in memory, of all splits together, where they do not go on disk
FEW = 2**26  # bytes of pixels that each process decodes for itself, which takes seconds
OTHERS = 10  # files of its class that are tried in place of one
SPARE = 0.8  # the share of a disk's free room that may be taken

Source = Callable[[Sequence[int]], ImageSource]  # of the numbers of the files that are kept
Keeping = Callable[[Sequence[Stored], Reading], tuple[Checked, Source]]


@dataclass(frozen=True, eq=False)
class Decoded(PixelArray):
    """Images held in memory, and the files they were read from."""

    files: Files


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images decoded when asked for.

    Args:
        labels: of each file, where another of its class is to stand in for one that cannot be read any more.
    """

    files: Files
    reading: Reading
    labels: tuple[int, ...] | None = None

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, S, S], several decoded at a time.

        Raises:
            DataError: one of the files cannot be read, and which, and none stands in for it.
        """
        pixels = _empty(len(indices), self.reading)
        done = decode_all(self.files.at(indices), self.reading, pixels.__setitem__, what=None)
        for place, fault in done.faults.items():
            if self.labels is None:
                raise DataError(fault)
            pixels[place] = self._another(indices[place], self.labels, without_allowed(fault))
        return pixels

    def _another(self, number: int, labels: Sequence[int], fault: str) -> Tensor:
        """The pixels of the next file of a class, in place of one that was read once; with a warning.

        Raises:
            DataError: some of these cannot be read either, as where a disk is gone.
        """
        order = (n % len(labels) for n in range(number + 1, number + len(labels)))
        for other in islice((n for n in order if labels[n] == labels[number]), OTHERS):
            with suppress(DataError):
                pixels = decode(self.files[other], self.reading).pixels
                warn_once(f"skipped: {fault}; {self.files[other]} stands in for it")
                return pixels
        raise DataError(f"{fault}, nor can others of its class; allowed: files that can be read until the end")


def keeping(files: Sequence[Stored], reading: Reading, limit: float, others: int = 0) -> Keeping:
    """Where pictures are kept: few in memory, more on disk, where every process finds them and decodes none again.

    Where there is no room on disk, up to `MEMORY` bytes are kept in memory, and more nowhere.

    Args:
        files: of all splits that are opened together.
        limit: bytes that pictures may take on disk.
        others: the number of further pictures, which are opened apart and share the limits.
    """
    count, folder = len(files) + others, cache_folder() / "pictures"
    size = bytes_of(count, reading.view.size)
    if size <= min(FEW, MEMORY):
        return in_memory
    reason = unwritable(folder) or _no_room(size, limit, folder, files, reading)
    if reason is None:
        if taken(folder) + size > limit:  # one split's pictures might make way for another's
            missing(folder, files, reading)
        return partial(on_disk, folder, limit=limit)
    if held(count, reading.view.size):
        return in_memory
    note(f"pictures are decoded whenever they are asked for: {reason}")
    return partial(when_asked, folder)


def held(count: int, side: int) -> bool:
    """Whether the pixels of so many pictures of this size may be in memory at once."""
    return bytes_of(count, side) <= MEMORY


def in_memory(files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode every file and keep its pixels."""
    array = _empty(len(files), reading)
    done = decode_all(files, reading, array.__setitem__)

    def source(kept: Sequence[int]) -> ImageSource:
        return Decoded(array[kept] if done.faults else array, reading.view.size, _of(files, kept))

    return done, source


def on_disk(folder: Path, files: Sequence[Stored], reading: Reading, limit: float = inf) -> tuple[Checked, Source]:
    """Decode into a folder, which may have so many bytes, the files that it does not have yet."""
    found = look_up(folder, files, reading, pixels=True, limit=limit)
    return checked(found), lambda kept: mapped([found[number] for number in kept], _of(files, kept))


def when_asked(folder: Path, files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode every file once, to know which can be read; what came of it is remembered in a folder, if that can be."""
    if unwritable(folder) is None:
        done = checked(look_up(folder, files, reading, pixels=False))
    else:
        done = decode_all(files, reading, lambda *_: None)
    return done, lambda kept: ImageFiles(_of(files, kept), reading)


def unchecked(files: Sequence[Stored], reading: Reading) -> tuple[Checked, Source]:
    """Decode no file before it is asked for."""
    return Checked({}, {}), lambda kept: ImageFiles(_of(files, kept), reading)


def _of(files: Sequence[Stored], kept: Sequence[int]) -> Files:
    return Files(files).at(kept)


def _empty(count: int, reading: Reading) -> Tensor:
    return torch.empty(count, 3, reading.view.size, reading.view.size, dtype=torch.uint8)


def _no_room(size: int, limit: float, folder: Path, files: Sequence[Stored], reading: Reading) -> str | None:
    """Why pictures of so many bytes do not go into a folder; None: they do, or are there already."""
    if size > limit:
        return f"they would take {size / 2**30:.1f} GiB on disk; data.cache_gib is {limit / 2**30:g}"
    place = nearest_existing(folder)
    free = SPARE * shutil.disk_usage(place).free
    if size > free and (size := bytes_of(missing(folder, files, reading), reading.view.size)) > free:
        return f"they would take {size / 2**30:.1f} GiB; {free / 2**30:.1f} are free at {place}"
    return None
