"""Where the bytes of a picture lie: in a file of their own, or inside an archive or a table."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol


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


def is_missing(stored: Stored) -> bool:
    """Whether there is no such file; one that may not be looked at, or lies inside another, has been seen there."""
    if not isinstance(stored, Path):
        return False
    try:
        stored.lstat()
    except PermissionError:
        return False
    except (OSError, ValueError):  # ValueError: there can be no such path
        return True
    return False


def size_of(stored: Stored) -> int:
    """Bytes."""
    return stored.stat().st_size if isinstance(stored, Path) else stored.size


def version_of(stored: Stored) -> str:
    """A text that is another one wherever the bytes may be others: of a file by its path, size and time."""
    if not isinstance(stored, Path):
        return stored.version
    try:
        status = stored.stat()
    except (OSError, ValueError):  # it is not there, or there can be no such path
        status = None
    return f"{stored.absolute()}\0{status and (status.st_size, status.st_mtime_ns)}"


def content_of(stored: Stored) -> bytes:
    """The bytes."""
    return stored.read_bytes() if isinstance(stored, Path) else stored.read()


def to_open(stored: Stored) -> Path | BytesIO:
    """What Pillow opens.

    Raises:
        OSError: no regular file: a pipe would be waited for.
    """
    if not isinstance(stored, Path):
        return BytesIO(stored.read())
    if not stat.S_ISREG(stored.stat().st_mode):
        raise OSError("no regular file")
    return stored
