"""What can go wrong for a user, each kind with its exit code."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

NO_MEMORY = (  # words of torch, and of oneDNN
    *("out of memory", "not enough memory", "can't allocate memory", "Cannot allocate memory"),
    "could not create a primitive",
)
SHOWN = 20  # faults of one kind, or of one file: a person mends no more at a time
NO_KERNEL = "does not have a deterministic implementation"  # torch's words
LENGTH = 500  # letters of what was found


class MetaftError(Exception):
    """A mistake the user can mend; the command line prints its text, never a stack trace."""

    exit_code = 1
    shared = False  # whether all ranks of a run have it, so that the first one's telling is enough


class DataError(MetaftError):
    """A folder, file or data set is missing, unreadable or inconsistent."""

    exit_code = 3


class CheckpointError(MetaftError):
    """A checkpoint is missing, unreadable or of another architecture."""

    exit_code = 3


class BusyError(MetaftError):
    """Another process is writing to the same file or folder."""

    exit_code = 2


class LaunchError(MetaftError):
    """The environment does not say how processes that were started together meet."""

    exit_code = 2


class ClusterError(MetaftError):
    """A cluster does not answer, or has no room for what it is asked for."""

    exit_code = 2


class OutOfMemoryError(MetaftError):
    """The settings ask for more memory than there is.

    Args:
        words: settings by which what was begun may go on with less.
    """

    exit_code = 2

    def __init__(self, text: str, words: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.words = tuple(words)


class DivergedError(MetaftError):
    """Training left the range in which its numbers mean anything."""

    exit_code = 4


@dataclass(frozen=True)
class Fault:
    """One fault in the settings or arguments: where, what was found, what is allowed."""

    field: str
    found: str
    allowed: str
    nearest: str | None = None

    @property
    def on_command_line(self) -> bool:
        """Whether it is one of a flag, `--FLAG`, or of a word, `NAME`."""
        return self.field.startswith("--") or self.field.isupper()

    def __str__(self) -> str:
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{on_a_line(self.field)}: {on_a_line(self.found)}; allowed: {self.allowed}.{hint}"


class ConfigError(MetaftError):
    """Every fault found in the settings or arguments, together; the text shows so many and counts the others."""

    exit_code = 2

    def __init__(self, faults: Sequence[Fault], partial: Any = None) -> None:
        self.faults = tuple(faults)
        self.partial = partial  # the settings that remain when the faulty ones are left at their defaults
        count = f"{len(self.faults)} problem{'s' if len(self.faults) != 1 else ''}"
        lines = [f"  - {fault}" for fault in self.faults[:SHOWN]]
        more = len(self.faults) - len(lines)
        where = "on the command line" if all(fault.on_command_line for fault in self.faults) else "in the settings"
        super().__init__("\n".join([f"{count} {where}:", *lines, *([f"  - and {more} more"] if more else [])]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its faults, not with its text."""
        return type(self), (self.faults, self.partial)


def on_a_line(text: str) -> str:
    """A text as one line of a bounded length: letters that a terminal would not show as such are written out."""
    return _printable(text if len(text) <= LENGTH else f"{text[:LENGTH]}... ({len(text):,} letters)")


def message(text: str) -> str:
    """A whole message as one line; of a very long one the beginning, and the end, which says what is allowed."""
    long = len(text) > 4 * LENGTH
    return _printable(f"{text[: 3 * LENGTH]}... ({len(text):,} letters) ...{text[-LENGTH:]}" if long else text)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def without_allowed(message: str) -> str:
    """What is wrong, of a message that also says what is allowed."""
    return message.partition("; allowed: ")[0]


def fault_of_system(error: OSError) -> str:
    """What the operating system refused, and of which file."""
    where = "" if error.filename is None else f"{error.filename}: "
    return where + why(error)


def why(error: Exception) -> str:
    """What an error says in a line, without the number and the file that the system's errors begin and end with."""
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, torch or the operating system says that memory has run out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def undetermined(error: BaseException) -> ConfigError | None:
    """The fault that an operation has no deterministic kernel, where that is what torch says; else None."""
    if not (isinstance(error, RuntimeError) and NO_KERNEL in str(error)):
        return None
    found = f"true, but {first_line(error).split(NO_KERNEL)[0]}has no deterministic kernel on this device"
    return ConfigError([Fault("deterministic", found, "warn, false")])


def few(names: Sequence[str]) -> str:
    """The first of several names."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name most like the given one, or None where none is close."""
    if len(name) > LENGTH:  # which would be compared letter by letter
        return None
    known = list(names)
    alike = [other for other in known if other.casefold() == name.casefold()]
    matches = alike or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return matches[0] if matches else None


def hint(name: str, names: Iterable[str]) -> str:
    """What follows the allowed names: the nearest of them, or nothing where none is close."""
    near = nearest(name, names)
    return f"; nearest: {near!r}" if near else ""


def unknown(field: str, name: str, names: Iterable[str]) -> Fault:
    """The fault of a name that no registry holds."""
    known = sorted(names)
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return Fault(field, f"unknown name {name!r}", shown, nearest(name, known))


def all_unknown(field: str, names: Iterable[object], known: Iterable[str]) -> Iterator[Fault]:
    """The faults of those names that no registry holds, of the first so many."""
    registered = frozenset(known)
    return (unknown(field, str(name), registered) for name in islice((n for n in names if n not in registered), SHOWN))
