"""Progress on standard error: bars on a terminal, elsewhere a line a minute; silence with `--quiet`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, TypeVar

from tqdm import tqdm

from metaft.errors import message

T = TypeVar("T")
MINUTE = 60.0  # seconds between two lines where no terminal looks on
_quiet = False
_mute = False  # whether warnings are others' to print
_once: set[str] = set()  # the warnings that are given once, where nobody keeps them
_heard: list[str] | None = None  # the warnings so far, where someone keeps them
_told = time.monotonic()  # when the last line was printed, or this process began
tqdm.set_lock(RLock())  # bars are of one process; tqdm's own lock for several would outlive a worker that is killed


def be_quiet(quiet: bool = True) -> None:
    """Switch bars and notes off for the whole process."""
    global _quiet
    _quiet = quiet


def be_mute(mute: bool = True) -> None:
    """Switch all lines off for the whole process, since another one prints them."""
    global _mute
    be_quiet(_quiet or mute)
    _mute = mute


def _hidden() -> bool:
    return _quiet or not sys.stderr.isatty()


class _Lines(tqdm):  # type: ignore[type-arg] # which tqdm has for type checkers alone
    """A bar for where no terminal looks on: now and then it is printed as a line of its own."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print the bar, unless something was printed less than a minute ago."""
        global _told
        if time.monotonic() - _told >= MINUTE:
            _told = time.monotonic()
            print(str(self), file=sys.stderr, flush=True)

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: what was printed stays."""


def _bar(**how: Any) -> tqdm[Any]:
    if _hidden():
        return _Lines(**how, file=sys.stderr, disable=_quiet, ncols=100, ascii=True, leave=False)
    return tqdm(**how, file=sys.stderr, dynamic_ncols=True, leave=False)


def bar(what: str, total: float | None = None, unit: str = "step", initial: float = 0) -> tqdm[Any]:
    """A bar to update by hand; a context manager."""
    return _bar(desc=what, total=total, unit=unit, initial=initial)


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "batch") -> Iterable[T]:
    """A bar around an iterable."""
    return _bar(iterable=items, desc=what, total=total, unit=unit)


def tell(text: str) -> None:
    """Print a line that belongs to the record of a run, on a terminal or not, unless `--quiet` is given."""
    if not _quiet:
        tqdm.write(text, file=sys.stderr)


def note(text: str) -> None:
    """Print a line of news, where bars are shown."""
    if not _hidden():
        tqdm.write(text, file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning clear of the bars, even with `--quiet`."""
    if _heard is not None and text not in _heard:
        _heard.append(text)
    if not _mute:
        tqdm.write(f"warning: {message(text)}", file=sys.stderr)


def warn_once(text: str) -> None:
    """Print a warning that may come again, once in a run."""
    if text not in (_once if _heard is None else _heard):
        _once.add(text)
        warn(text)


@contextmanager
def silence() -> Iterator[None]:
    """A context without any lines."""
    global _quiet, _mute
    before = _quiet, _mute
    be_mute()
    try:
        yield
    finally:
        _quiet, _mute = before


@contextmanager
def heard() -> Iterator[list[str]]:
    """A context whose warnings are kept, each once, in a list that grows as they are told."""
    global _heard
    before, _heard = _heard, []
    try:
        yield _heard
    finally:
        _heard = before


@contextmanager
def quiet_log() -> Iterator[None]:
    """Silence packages that log what the errors that they raise say as well, such as open_clip and datasets."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
