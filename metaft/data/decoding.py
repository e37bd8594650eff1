"""Many stored pictures to pixels, several at a time; each is tried, and what cannot be read is told by its number."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import get_worker_info

from metaft.data.decode import Reading, decode, quiet
from metaft.data.stored import Stored, size_of
from metaft.errors import DataError
from metaft.progress import track

CHUNK = 1024  # files whose decoding is under way
SMALL = 6_000  # bytes of a file
TASK = 32  # files that a thread takes at a time: handing over one costs as much as decoding a small one


@dataclass(frozen=True)
class Checked:
    """What came of decoding every file: why some cannot be read, and what is remarkable, both by number."""

    faults: Mapping[int, str]
    marks: Mapping[int, tuple[str, ...]]


Take = Callable[[int, Tensor], None]  # takes the pixels of a file's number


def decode_all(files: Sequence[Stored], reading: Reading, take: Take, what: str | None = "decoding") -> Checked:
    """Decode every file, several at a time.

    Args:
        what: the words before a bar that shows how far it is; None: without one.
    """
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

    threads = _threads(files)
    with quiet(), ThreadPoolExecutor(threads) as pool:
        chunks = _parts(range(len(files)), CHUNK)
        for chunk in chunks if what is None else track(chunks, what, unit="chunk"):
            list(pool.map(several, _parts(chunk, max(1, min(TASK, len(chunk) // threads)))))
    return Checked(dict(sorted(faults.items())), dict(sorted(marks.items())))


def can_be_read(file: Stored, reading: Reading) -> bool:
    """Whether a file can be read: a disk has moments, and a plugin may have come."""
    try:
        decode(file, reading)
    except DataError:
        return False
    return True


def _threads(files: Sequence[Stored]) -> int:
    """How many decode at a time: one for each processor, or one alone where files are small or processes decode.

    Decoders run beside each other, but what Python does around them does not, and threads that wait for it in turns
    take half as long again. Below `SMALL` bytes that is most of the work.
    """
    if get_worker_info() is not None:  # of a loader
        return 1
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
