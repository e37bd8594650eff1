"""What lies in folders of pictures: which entries are data, in which order, and how many are not and why."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from metaft.data.stored import Files, status_of
from metaft.errors import DataError
from metaft.texts import PLAIN, oddity

# What systems and programs leave behind in folders, in small letters; names that begin with a dot are not data anyway.
LEFT_BEHIND = frozenset(
    {
        *("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini", "__pycache__"),
    }
)
HIDDEN, LINKED, BESIDE = "hidden", "linked twice", "in no class folder"


@dataclass
class Found:
    """Files in their order, and the number of entries that were left out, by reason."""

    files: Files = field(default_factory=Files)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def paths(self) -> list[Path]:
        """The files as paths."""
        return [Path(str(file)) for file in self.files.kept]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is never data."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def readable(path: Path) -> str:
    """A path's last name as text in Unicode's composed form (NFC), in which names are compared.

    Raises:
        DataError: the name has control characters or breaks the line, or is no UTF-8, as one from an archive with
            another code page.
    """
    if odd := oddity(path.name):
        found = f"a name that is not UTF-8 or has control characters, {odd}"
        raise DataError(f"{os.fsencode(path)!r}: {found}; allowed: {PLAIN}")
    return unicodedata.normalize("NFC", path.name)


def in_order(names: Iterable[str]) -> list[str]:
    """Names by their numbers where all are numbers, else by their letters."""
    known = list(names)
    numbers = all(name.isascii() and name.isdigit() for name in known)
    return sorted(known, key=by_size) if numbers else sorted(known)


def by_size(digits: str) -> tuple[int, str, str]:
    """A key that sorts numbers in ASCII's digits by their size, however long they are."""
    plain = digits.lstrip("0")
    return len(plain), plain, digits


def folders(path: Path) -> dict[str, Path]:
    """The folders in a folder that may be data, by name, in order; none where it is not there.

    Raises:
        DataError: a name that cannot be read, two that are one name written in two ways, or a link that leads nowhere.
    """
    inner: dict[str, Path] = {}
    for entry in map(Path, entries(path)) if path.is_dir() else ():
        if is_hidden(entry.name):
            continue
        if entry.is_symlink() and not entry.exists():
            found = f"a link to {str(entry.readlink())!a}, where nothing can be found"
            raise DataError(f"{entry}: {found}; allowed: links that lead to a folder or file")
        if entry.is_dir():
            name = readable(entry)
            if name in inner:
                raise DataError(f"{path}: two folders of the name {name!r}, in other code points; allowed: one")
            inner[name] = entry
    return {name: inner[name] for name in in_order(inner)}


def entries_beside(path: Path) -> Counter[str]:
    """What lies in a folder beside the folders that may be data: the number of entries, by why they are left out."""
    reasons = (
        HIDDEN if is_hidden(entry.name) else BESIDE
        for entry in entries(path)
        if is_hidden(entry.name) or not Path(entry).is_dir()
    )
    return Counter(reasons)


def walked(path: Path) -> Found:
    """All files below a folder that may be data, sorted by path; a file or folder that links lead to comes once.

    Raises:
        DataError: a name that cannot be read, or links that lead round in a circle.
    """
    left_out: Counter[str] = Counter()
    entries = sorted(_below(path, left_out), key=attrgetter("path"))
    if not any(entry.linked for entry in entries):
        return Found(Files(entry.path for entry in entries), left_out)
    seen, kept = {entry.file for entry in entries if not entry.linked}, []
    for entry in entries:
        if entry.linked and entry.file in seen:
            left_out[LINKED] += 1
            continue
        seen.add(entry.file)
        kept.append(entry.path)
    return Found(Files(kept), left_out)


def refuse_nested(place: Path, files: Files, classes: Collection[str]) -> None:
    """Refuse files of a class's folder that lie in folders named like other classes, as those of a test or domain may.

    Raises:
        DataError: it cannot be told which class a file is of.
    """
    own = readable(place)
    for folder in sorted(map(Path, {str(file).rpartition("/")[0] for file in files.kept})):
        parts = (unicodedata.normalize("NFC", part) for part in folder.relative_to(place).parts)
        other = next((part for part in parts if part != own and part in classes), None)
        if other is not None:
            found = f"{other!r} is a class too, and here in the folder of the class {own!r}"
            allowed = "class folders beside each other; tests, domains and folders in class folders of other names"
            raise DataError(f"{folder}: {found}; allowed: {allowed}")


Identity = tuple[int, int]  # the device and number of what lies at a path


class _Entry(NamedTuple):
    """A file by its path; `file` is what lies there, `linked` whether a link leads there."""

    path: str
    file: Identity
    linked: bool


def _below(root: Path, left_out: Counter[str]) -> Iterator[_Entry]:
    """The entries below a folder. Each folder is gone through once, and by links after those that lie here."""
    waiting = [(False, str(root))]
    inside: dict[Identity, dict[Identity, Path]] = {}
    while waiting:
        linked, folder = heappop(waiting)
        here = identity(Path(folder))
        if here in inside:
            left_out[LINKED] += 1
            continue
        inside[here] = {}
        for entry in entries(Path(folder)):
            path, is_link = entry.path.removeprefix("./"), entry.is_symlink()
            if is_hidden(entry.name):
                left_out[HIDDEN] += 1
                continue
            if oddity(entry.name):
                readable(Path(path))
            leads_to_folder = is_link and os.path.isdir(path)  # noqa: PTH112 (Path's raises where it may not look)
            if entry.is_dir(follow_symlinks=False) or leads_to_folder:
                inside[here][identity(path)] = Path(path)
                heappush(waiting, (linked or is_link, path))
            elif is_link:
                yield _Entry(path, identity(path), True)
            else:
                yield _Entry(path, (here[0], entry.inode()), linked)
    _refuse_circles(inside)


def _refuse_circles(inside: Mapping[Identity, Mapping[Identity, Path]]) -> None:
    """Refuse links by which a folder lies in itself; `inside` has the paths of the folders in each folder."""
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        inner_and_outer = pairwise(error.args[1])
        link = next(path for inner, outer in inner_and_outer if (path := inside[outer][inner]).is_symlink())
        raise DataError(f"{link}: a link to a folder that it lies in; allowed: links to other folders") from None


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); allowed: a folder that can") from error


def identity(path: Path | str) -> Identity:
    """The device and number of what lies at a path, links followed where they lead somewhere."""
    try:
        status = status_of(path)
    except OSError:  # a link to nothing, or to itself: who opens it will say so
        status = os.lstat(path)
    return status.st_dev, status.st_ino
