"""Writing files whole, durably and by one process at a time, and JSON that any reader accepts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from filelock import FileLock, Timeout

from metaft.config.paths import expanded, fault
from metaft.errors import BusyError, ConfigError, Fault
from metaft.texts import regular

TEMPORARY = ".tmp"  # behind the name of a file that is being written


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside `path` to write to, which then takes its place, so that no reader sees a part of it.

    It is on the disk before it replaces anything, and is deleted where that fails. The folder must exist: one that was
    deleted in the meantime is not made again.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with _named(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync(path.parent)


def write(path: Path, content: str | bytes) -> None:
    """Write a file into a folder that exists; a reader sees all of it or none."""
    with replacing(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def append(path: Path, line: str) -> None:
    """Add a line to a file that exists, on the disk when this returns; one that was deleted is not made again."""
    with _named(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A context whose errors name a file, which the system leaves out where one that is open cannot be written to."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def complete_lines(path: Path) -> tuple[bytes, bytes]:
    """The complete lines of a file to which lines are added, and what stands behind them: a line torn by a crash."""
    content = regular(path).read_bytes()
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


@dataclass
class Added:
    """The lines that others add to a file, each given once, when it is whole; the file may not be there yet."""

    path: Path
    _read: int = 0

    def new(self) -> list[bytes]:
        """The lines that have come since the last call.

        Raises:
            OSError: the file cannot be read.
        """
        if not os.path.lexists(self.path):
            return []
        with regular(self.path).open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.splitlines()


def _sync(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cache_folder() -> Path:
    """Where things are kept that can be made again: the folder that METAFT_CACHE names, or else ~/.cache/metaft."""
    return Path(expanded(os.environ.get("METAFT_CACHE") or "~/.cache/metaft"))


def nearest_existing(path: Path) -> Path:
    """A path, or the nearest of the folders above it that is there."""
    return next((place for place in (path, *path.parents) if place.exists()), path)


def unwritable(folder: Path) -> str | None:
    """Why a folder cannot be made, or written to; None: it can."""
    place = next(place for place in (folder, *folder.parents, Path()) if os.path.lexists(place))
    if not place.is_dir():
        return f"{place} is a {'link to nowhere' if place.is_symlink() else 'file'}"
    return None if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written to"


def refuse_unusable_folder(folder: str | Path) -> None:
    """Refuse a folder that something is to be saved in.

    Raises:
        ConfigError: it cannot be made, or written to.
    """
    if wrong := fault(str(folder)) or unwritable(Path(folder)):
        raise ConfigError([Fault("folder", wrong, "a folder that can be made and written to")])


def refuse_unwritable(out: Path) -> None:
    """Refuse a file that a command is to write before it does anything else.

    Raises:
        ConfigError: its folder does not exist, or what is there is no file: a folder, a device, a pipe.
    """
    if not out.parent.is_dir():
        found = f"{out}, in a folder that does not exist"
    elif out.exists() and not out.is_file():
        found = f"{out}, {'a folder' if out.is_dir() else 'which is no regular file'}"
    else:
        return
    raise ConfigError([Fault("--out", found, "a file in a folder that is there")])


def claim(path: Path) -> FileLock:
    """Keep other processes from writing to a file or folder for as long as the returned object lives.

    The operating system holds the lock, so a dead process leaves none behind; the same process may claim twice.

    Raises:
        BusyError: another process has claimed it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    lock = FileLock(place, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{path}: another process is at work on it; allowed: one at a time") from None
    return lock


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON; numbers that are not finite become null, since JSON has none."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError, RecursionError: it is none, or has NaN or an infinity, which JSON does not know.
    """
    return json.loads(text, parse_constant=_refused)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant}, which is no number of JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
