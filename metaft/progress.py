"""Progress on standard error: bars on a terminal, silence elsewhere and with `--quiet`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Switch bars and notes off for the whole process."""
    global _quiet
    _quiet = quiet


def _hidden() -> bool:
    return _quiet or not sys.stderr.isatty()


def _look() -> dict[str, Any]:
    return {"file": sys.stderr, "disable": _hidden(), "dynamic_ncols": True, "leave": False}


def bar(what: str, total: float | None = None, unit: str = "step", initial: float = 0) -> tqdm[Any]:
    """A bar to update by hand; a context manager."""
    return tqdm(desc=what, total=total, unit=unit, initial=initial, **_look())


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "batch") -> Iterable[T]:
    """A bar around an iterable."""
    return tqdm(items, desc=what, total=total, unit=unit, **_look())


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
    tqdm.write(f"warning: {text}", file=sys.stderr)
