"""The journal of a search: JSON lines, appended as trials end, read back to resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from metaft.errors import DataError
from metaft.files import to_json, write
from metaft.progress import warn
from metaft.search.bilevel import Outcome

VERSION = 1
HEADER = json.dumps({"version": VERSION}) + "\n"


@dataclass(frozen=True)
class Record:
    """A finished trial; or, with a trial's number, a finalist evaluated again (`final`) or a derivative's `check`."""

    kind: Literal["trial", "final", "check"]
    number: int
    params: Mapping[str, Any]
    seed: int
    outcome: Outcome
    gradient: tuple[float, ...] | None = None


class Journal:
    """An append-only file of records, or a list in memory where `path` is None.

    A last line torn by a crash is cut off and reported; the trial it held is run again.

    Raises:
        DataError: the file is of another version or damaged before its last line.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.records: list[Record] = []
        if path is not None and path.exists():
            self._read(path)
        elif path is not None:
            write(path, HEADER)

    def append(self, record: Record) -> None:
        """Add a record and flush it."""
        self.records.append(record)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(to_json(asdict(record)) + "\n")

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            warn(f"{path}: cut off an unfinished last line; its trial is run again")
            path.write_bytes(whole + b"\n" if whole else b"")
        lines = whole.decode("utf-8").splitlines()
        if not lines:
            write(path, HEADER)
            return
        try:
            if json.loads(lines[0]).get("version") != VERSION:
                raise DataError(f"{path}: journal of another version; allowed: version {VERSION}")
            self.records = [_decode(line) for line in lines[1:]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: damaged journal ({error}); allowed: one JSON record a line") from error


def _decode(line: str) -> Record:
    raw = json.loads(line)
    fields: dict[str, Any] = {k: math.inf if v is None else v for k, v in raw.pop("outcome").items()}
    gradient = raw.pop("gradient")
    return Record(
        **raw,
        outcome=Outcome(**fields),
        gradient=None if gradient is None else tuple(math.nan if g is None else g for g in gradient),
    )
