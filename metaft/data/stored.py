"""Where the bytes of a picture lie: in a file of their own, or inside an archive or a table."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol, overload

WHOLE = 2**20  # bytes of a file that is read at once


class Inside(Protocol):
    """A picture inside a larger file; as text it is what messages call it."""

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    @property
    def version(self) -> str:
        """A text that is another one wherever the bytes may be others."""
        ...

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: the larger file is not there, or not whole.
        """
        ...


Stored = Path | Inside


@dataclass(frozen=True, slots=True)
class StandIn:
    """Another picture in the place of one that was read once and cannot be any more; as text it is the lost one."""

    lost: str
    file: Stored

    def __str__(self) -> str:
        """As messages call it."""
        return self.lost

    @property
    def size(self) -> int:
        """The other's bytes."""
        return size_of(self.file)

    @property
    def version(self) -> str:
        """The other's."""
        return version_of(self.file)

    def read(self) -> bytes:
        """The bytes of the other."""
        return content_of(self.file)


class Files(Sequence[Stored]):
    """Pictures in their order. A path is kept as its text: as a Path, a hundred thousand take 40 MiB more.

    Args:
        files: where a text is a path as `str(Path(...))` has it.

    Attributes:
        kept: what is kept of each.
    """

    __slots__ = ("kept",)

    def __init__(self, files: Iterable[Stored | str] = ()) -> None:
        given = files.kept if isinstance(files, Files) else files
        self.kept: list[str | Inside] = [str(file) if isinstance(file, Path) else file for file in given]

    def __len__(self) -> int:
        return len(self.kept)

    @overload
    def __getitem__(self, number: int) -> Stored: ...

    @overload
    def __getitem__(self, number: slice) -> Files: ...

    def __getitem__(self, number: int | slice) -> Stored | Files:
        """One of them, or several."""
        if isinstance(number, slice):
            return Files(self.kept[number])
        file = self.kept[number]
        return Path(file) if isinstance(file, str) else file

    def __iter__(self) -> Iterator[Stored]:
        return (Path(file) if isinstance(file, str) else file for file in self.kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Files) and self.kept == other.kept

    def at(self, rows: Iterable[int]) -> Files:
        """Those of these numbers alone."""
        return Files(self.kept[row] for row in rows)


def status_of(path: Path | str) -> os.stat_result:
    """What the system says of the file at a path, links followed.

    Raises:
        OSError, ValueError: there is none, or none that may be looked at.
    """
    return os.stat(path)  # noqa: PTH116 (of a text, of which to make a Path takes as long as two of these)


def name_of(stored: str | Inside) -> str:
    """The last part of the path, or of what messages call it."""
    return str(stored).rpartition("/")[2]


def is_missing(stored: Stored | str) -> bool:
    """Whether there is no such file; one that may not be looked at, or lies inside another, has been seen there."""
    if not isinstance(stored, Path | str):
        return False
    try:
        os.lstat(stored)
    except PermissionError:
        return False
    except (OSError, ValueError):  # ValueError: there can be no such path
        return True
    return False


def size_of(stored: Stored | str) -> int:
    """Bytes."""
    return status_of(stored).st_size if isinstance(stored, Path | str) else stored.size


def version_of(stored: Stored | str) -> str:
    """A text that is another one wherever the bytes may be others: of a file by its path, size and time."""
    if not isinstance(stored, Path | str):
        return stored.version
    try:
        status = status_of(stored)
    except (OSError, ValueError):  # it is not there, or there can be no such path
        status = None
    text = str(stored)
    whole = text if text.startswith("/") else str(Path(text).absolute())
    return f"{whole}\0{status and (status.st_size, status.st_mtime_ns)}"


def content_of(stored: Stored) -> bytes:
    """The bytes."""
    return stored.read_bytes() if isinstance(stored, Path) else stored.read()


def to_open(stored: Stored) -> Path | BytesIO:
    """What Pillow opens: the bytes, or of a large file its path.

    Raises:
        OSError: no regular file: a pipe would be waited for.
    """
    if not isinstance(stored, Path):
        return BytesIO(stored.read())
    status = status_of(stored)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("no regular file")
    return BytesIO(stored.read_bytes()) if status.st_size <= WHOLE else stored
