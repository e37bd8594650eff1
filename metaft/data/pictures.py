"""Image files: decoded when a split is opened or when asked for, each tried once before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from metaft.data.decode import CONSTANT, TRANSPARENT, TURNED, Picture, Reading, decode, is_picture, kind, quiet
from metaft.data.tree import Found
from metaft.data.types import MEMORY, Domains, ImageSource, PixelArray, Split
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


@dataclass(frozen=True)
class Listed:
    """The files of a split with their labels, and their domains where they have names.

    Args:
        where: the folder or file that lists them.
        left_out: what it holds beside them, by reason.
    """

    name: str
    where: Path
    files: Sequence[Path]
    labels: Sequence[int]
    left_out: Counter[str] = field(default_factory=Counter)
    domains: Sequence[str] | None = None


def split_of(listed: Listed, classes: Sequence[str], reading: Reading, skip: bool) -> Split:
    """The split of listed files; a line tells how many are used, how many are not and why.

    Raises:
        DataError: a file is no picture that can be read, and `skip` is not asked for, or none of a class is left.
    """
    opened = open_pictures(listed.name, listed.files, reading, skip)
    every = torch.tensor(listed.labels, dtype=torch.long)
    labels = every[opened.kept]
    lost = [classes[label] for label in sorted({*every.tolist()} - {*labels.tolist()})]
    if lost:
        none = f"no image of class {', '.join(lost)} is readable"
        raise DataError(f"{listed.where}: {none}; allowed: at least one in each class")
    _report(listed, opened, reading)
    return Split(listed.name, opened.source, labels, reading.view, _domains(listed, opened.kept))


def _domains(listed: Listed, kept: Tensor) -> Domains | None:
    """The domains of the files that are kept."""
    if listed.domains is None:
        return None
    names = tuple(sorted({listed.domains[i] for i in kept}))
    return Domains(names, torch.tensor([names.index(listed.domains[i]) for i in kept]))


def _report(listed: Listed, opened: Opened, reading: Reading) -> None:
    """Tell how many files of a split are used, how many are not and why, and what was done to pictures."""
    marks = opened.marks
    unread = listed.left_out + Counter({UNREADABLE: marks[UNREADABLE]})
    turned = "turned by their EXIF rotation" if reading.exif_rotation else "not turned as their EXIF rotation says"
    done = {
        f"transparent, on {reading.ground} (data.ground)": marks[TRANSPARENT],
        f"{turned} (data.exif_rotation)": marks[TURNED],
    }
    parts = [f"{listed.name}: {len(opened.kept)} pictures"]
    parts += [f"left out: {_counted(sorted(unread.items()))}"] if unread else []
    parts += [_counted(done.items())] if any(done.values()) else []
    tell("; ".join(parts))


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts if count)
