"""Room on disk for decoded pictures: shards that no process uses make way, those used longest ago first.

Whoever uses a shard holds a shared lock on its record, which the operating system gives up as the process ends.
"""

from __future__ import annotations

import atexit
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

RECORD, PIXELS = ".json", ".npy"  # the endings of a shard's two files
_held: dict[Path, IO[bytes]] = {}  # records that this process has locked


def opened(record: Path) -> IO[bytes]:
    """A shard's record, which stays where it is for as long as the file is open.

    Raises:
        OSError: it is not there, or no longer.
    """
    file = record.open("rb")
    with suppress(OSError):  # of a file system without locks, on which nothing makes way
        fcntl.flock(file, fcntl.LOCK_SH)
    if not _is_there(file):
        file.close()
        raise FileNotFoundError(f"{record} has made way")
    return file


def keep(record: Path, file: IO[bytes]) -> None:
    """Keep a shard from making way for as long as this process lives; it has been used now."""
    with suppress(OSError):  # of another user, whose time it is not ours to set
        os.utime(record)
    before = _held.get(record)
    if before is not None and _is_there(before):
        file.close()
        return
    if before is not None:  # another file has taken its place
        before.close()
    _held[record] = file


@atexit.register
def let_go() -> None:
    """Keep no shard any longer."""
    for file in _held.values():
        file.close()
    _held.clear()


def _is_there(file: IO[bytes]) -> bool:
    """Whether an open file still has a name."""
    return os.fstat(file.fileno()).st_nlink > 0


def make_way(folder: Path, needed: int, limit: float) -> None:
    """Delete shards in the folders of a folder until so many more bytes are within a limit, or all others are used."""
    shards = sorted(_shards(folder), key=lambda shard: shard[1])
    total = sum(size for size, _, _ in shards)
    for size, _, record in shards:
        if total + needed <= limit:
            return
        if size and _deleted(record):
            total -= size


def bytes_of(count: int, side: int) -> int:
    """The bytes of the pixels of so many pictures of a size."""
    return 3 * count * side**2


def taken(folder: Path) -> int:
    """The bytes of pixels in the folders of a folder."""
    return sum(size for size, _, _ in _shards(folder))


def _shards(folder: Path) -> Iterator[tuple[int, float, Path]]:
    """The bytes of pixels of each shard, when it was last used, and its record."""
    for record in folder.glob(f"*/*{RECORD}"):
        with suppress(OSError):  # another process has just deleted it
            pixels = record.with_suffix(PIXELS)
            yield pixels.stat().st_size if pixels.exists() else 0, record.stat().st_mtime, record


def _deleted(record: Path) -> bool:
    """Whether a shard could be deleted: nobody uses it."""
    with suppress(OSError), closing(record.open("rb")) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        record.unlink()  # first: without it the shard is none
        record.with_suffix(PIXELS).unlink()
        return True
    return False
