"""Image files: decoded when a split is opened or when asked for, each tried once before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metaft.data.decode import CONSTANT, TRANSPARENT, TURNED, Picture, Reading, decode, is_picture, kind, quiet
from metaft.data.tree import Found
from metaft.data.types import MEMORY, ImageSource, PixelArray
from metaft.errors import DataError
from metaft.progress import tell, warn

UNREADABLE = "unreadable"
SHOWN = 10  # files that cannot be read, each in a line of its own


@dataclass(frozen=True)
class ImageFiles:
    """Images decoded when asked for."""

    paths: tuple[Path, ...]
    reading: Reading

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, S, S]."""
        with quiet():
            return torch.stack([decode(self.paths[i], self.reading).pixels for i in indices])


@dataclass(frozen=True)
class Decoded(PixelArray):
    """Images held in memory, and the files they were read from."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Opened:
    """The readable pictures among files: their source, their numbers [N] among the files, and how many have a mark."""

    source: ImageSource
    kept: Tensor
    marks: Counter[str]


def sorted_out(found: Found) -> Found:
    """The files that are to be pictures; others count as left out by their suffix."""
    pictures = Found(left_out=Counter(found.left_out))
    for file in found.files:
        if is_picture(file):
            pictures.files.append(file)
        else:
            pictures.left_out[kind(file)] += 1
    return pictures


def open_pictures(name: str, files: Sequence[Path], reading: Reading, skip: bool) -> Opened:
    """The pictures of a split that can be read, each decoded once.

    Raises:
        DataError: some cannot, and `skip` is not asked for.
    """
    view = reading.view
    in_memory = len(files) * 3 * view.size**2 <= MEMORY

    def attempt(file: Path) -> tuple[Picture | None, DataError | None]:
        try:
            picture = decode(file, reading)
        except DataError as error:
            return None, error
        return (picture if in_memory else Picture(torch.empty(0), picture.marks)), None

    with quiet(), ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, files))
    faults = [fault for _, fault in results if fault is not None]
    if faults and not skip:
        raise DataError(f"{name}: {len(faults)} of {len(files)} images unreadable; the first: {faults[0]}")
    for fault in faults[:SHOWN]:
        warn(f"skipped: {fault}")
    if len(faults) > SHOWN:
        warn(f"skipped: {len(faults) - SHOWN} more of {name}")
    pictures = [picture for picture, _ in results if picture is not None]
    kept = torch.tensor([i for i, (picture, _) in enumerate(results) if picture is not None], dtype=torch.long)
    paths = tuple(files[i] for i in kept)
    constant = [path for path, picture in zip(paths, pictures, strict=True) if CONSTANT in picture.marks]
    if constant:
        warn(f"{name}: {len(constant)} of {len(files)} pictures are of one colour, the first: {constant[0]}")
    marks = Counter(mark for picture in pictures for mark in picture.marks)
    marks[UNREADABLE] = len(faults)
    if not in_memory:
        return Opened(ImageFiles(paths, reading), kept, marks)
    array = torch.stack([picture.pixels for picture in pictures]) if pictures else torch.empty(0)
    return Opened(Decoded(array, view.size, paths), kept, marks)


def report(name: str, count: int, left_out: Counter[str], marks: Counter[str], reading: Reading) -> None:
    """Tell how many files of a split are used, how many are not and why, and what was done to pictures."""
    unread = left_out + Counter({UNREADABLE: marks[UNREADABLE]})
    turned = "turned by their EXIF rotation" if reading.exif_rotation else "not turned as their EXIF rotation says"
    done = {
        f"transparent, on {reading.ground} (data.ground)": marks[TRANSPARENT],
        f"{turned} (data.exif_rotation)": marks[TURNED],
    }
    parts = [f"{name}: {count} pictures"]
    parts += [f"left out: {_listed(sorted(unread.items()))}"] if unread else []
    parts += [_listed(done.items())] if any(done.values()) else []
    tell("; ".join(parts))


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts if count)
