"""The write points of a run, where a file takes its place or a line is added, and what can strike a process there."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMS = {"rename": ("before", "after", "full"), "append": ("before", "torn", "after", "full")}


@dataclass(frozen=True)
class Point:
    """The `number`-th write of a run, from 1 on: a file that takes its place in the folder, or a line added to one."""

    number: int
    act: str
    file: str


Cut = Callable[[], None]  # cuts to its half what is being written
Visit = Callable[[Point, str, Cut], None]


class Watch:
    """Makes this process call `visit` at each write to a folder, for the rest of its life.

    `before` and `after` stand around a rename or an addition; `torn` and `full` where it is written but not yet synced.
    """

    def __init__(self, folder: Path, visit: Visit) -> None:
        self._folder, self._visit, self._count = folder, visit, 0
        self._added: dict[int, tuple[Point, int]] = {}  # by descriptor: the point, and the file's size before
        self._replace, self._open, self._fsync = Path.replace, os.open, os.fsync
        Path.replace = lambda path, target: self._renamed(path, Path(target))  # type: ignore[method-assign]
        os.open, os.fsync = self._opened, self._synced

    def _renamed(self, path: Path, target: Path) -> Path:
        if not target.is_relative_to(self._folder):
            return self._replace(path, target)
        point = self._point("rename", target)
        for form in ("before", "full"):
            self._visit(point, form, lambda: os.truncate(path, path.stat().st_size // 2))
        found = self._replace(path, target)
        self._visit(point, "after", _nothing)
        return found

    def _opened(self, path: Any, flags: int, *others: Any, **named: Any) -> int:
        if not (flags & os.O_APPEND and Path(path).is_relative_to(self._folder)):
            return self._open(path, flags, *others, **named)
        point = self._point("append", Path(path))
        self._visit(point, "before", _nothing)
        descriptor = self._open(path, flags, *others, **named)
        self._added[descriptor] = point, os.fstat(descriptor).st_size
        return descriptor

    def _synced(self, descriptor: int) -> None:
        point, size = self._added.pop(descriptor, (None, 0))
        if point is None:
            return self._fsync(descriptor)
        for form in ("torn", "full"):
            self._visit(point, form, lambda: os.truncate(descriptor, (size + os.fstat(descriptor).st_size) // 2))
        self._fsync(descriptor)
        return self._visit(point, "after", _nothing)

    def _point(self, act: str, path: Path) -> Point:
        self._count += 1
        return Point(self._count, act, str(path.relative_to(self._folder)))


def _nothing() -> None:
    """Cut nothing."""


def strike(number: int, form: str) -> Visit:
    """SIGKILL at one form of one point, at `torn` after half of a line; at `full` the disk has no room for its half."""

    def visit(point: Point, now: str, cut: Cut) -> None:
        if (point.number, now) != (number, form):
            return
        if form in ("torn", "full"):
            cut()
        if form == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.kill(os.getpid(), signal.SIGKILL)

    return visit


def recorder(place: Path) -> Visit:
    """Write down each point, a line each."""

    def visit(point: Point, now: str, cut: Cut) -> None:
        if now == "before":
            with place.open("a") as file:
                file.write(f"{point.act} {point.file}\n")

    return visit
