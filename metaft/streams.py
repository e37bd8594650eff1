"""Standard output and error as what a command prints needs them: who does not read on, or cannot, stops no work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Forgiving:
    """A stream whose writes may fail in some ways: what it is given after that goes nowhere.

    Args:
        stream: the stream.
        forgiven: the errors that end it.
    """

    def __init__(self, stream: TextIO, forgiven: type[OSError]) -> None:
        self._stream, self._forgiven = stream, forgiven

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, letters that the stream's encoding lacks as escapes."""
        coding = self._stream.encoding or "utf-8"
        try:
            return self._stream.write(text.encode(coding, "backslashreplace").decode(coding))
        except self._forgiven:
            return self._end(len(text))

    def flush(self) -> None:
        """Pass on what was written."""
        try:
            self._stream.flush()
        except self._forgiven:
            self._end(0)

    def _end(self, written: int) -> int:
        _to_nowhere(self._stream)
        return written


def give_up_on_output() -> None:
    """Send what standard output has not taken to nowhere: Python would try again and end with a code of its own."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere(sys.stdout)


def _to_nowhere(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def forgiving() -> Iterator[None]:
    """A context in which the reader of the output may leave, either stream be closed, or the log find no room.

    A full disk under standard output itself is an error as for any other file.
    """
    before = sys.stdout, sys.stderr
    out, err = (open(os.devnull, "w") if stream is None else stream for stream in before)  # noqa: PTH123, SIM115
    sys.stdout, sys.stderr = _Forgiving(out, BrokenPipeError), _Forgiving(err, OSError)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
