"""What happens in a run, one line of JSON each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from metaft.files import append, complete_lines, to_json, write

EVENTS = "metrics.jsonl"  # in the folder of a run


class Events:
    """A file of events, to which several processes may add; each event stands there once, however often it happens.

    Args:
        path: of the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def mend(self) -> None:
        """Begin the file, or cut off a last line that a crash has torn; nobody else may be adding to it."""
        complete, torn = complete_lines(self._path) if os.path.lexists(self._path) else (b"", b"begin")
        if torn:
            write(self._path, complete)

    def add(self, event: Mapping[str, Any]) -> None:
        """Append an event, unless it was there before an interruption."""
        line = to_json(event)
        if line not in self._known:
            append(self._path, line)

    @cached_property
    def _known(self) -> set[str]:
        """The lines that were there when this object was first added to."""
        return set(complete_lines(self._path)[0].decode(errors="replace").splitlines())
