"""The journal of a search: JSON lines, appended as things happen, read back to resume."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from metaft import ranks
from metaft.errors import DataError, fault_of_system, on_a_line
from metaft.files import append, claim, complete_lines, to_json, write
from metaft.progress import warn
from metaft.search.lines import SUM, Line, Lost, Record, Start, checksum, made, parsed, refuse_outside
from metaft.space import Space

VERSION = 3
BY_LINE = 2  # the version whose lines have checksums each of its own, or none
PLACE = Path("search", "trials.jsonl")  # in the folder of a run


class Journal:
    """An append-only file with one writing process, or lists in memory where `path` is None.

    A last line torn by a crash is cut off and reported; the trial it held is run again. An empty file, or one with the
    beginning of its first line, is begun anew.

    Args:
        path: of the file, which is made if there is none.
        run: what tells the run apart that the journal belongs to.
        earlier: the records of a run that is made again: its clock is this one's, so that limits in seconds end both at
            the same trial.
        read_only: read the file; write, repair and lock nothing.

    Raises:
        DataError: the file is of another version or run, or damaged before its last line.
        BusyError: another process writes to it.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        run: str | None = None,
        earlier: Sequence[Record] = (),
        read_only: bool = False,
    ) -> None:
        self.path, self._run, self._earlier = path, run, earlier
        self.space: list[dict[str, Any]] | None = None
        self.starts: list[Start] = []
        self.lost: list[Lost] = []
        self.records: list[Record] = []
        self._version, self._sum = VERSION, 0
        self._file = None if read_only else path
        if self._file is not None:
            self._file.parent.mkdir(exist_ok=True)
        self._claim = None if self._file is None else claim(self._file)
        complete, torn = (b"", b"") if path is None else _content(path)
        if path is not None and (complete or not _begins(torn)):
            self._read(path, complete)
        if complete and torn and self._file is not None:
            warn(f"{path}: cut off an unfinished last line; its trial is run again")
            write(self._file, complete)
        elif not complete and self._file is not None:
            write(self._file, to_json({"version": VERSION} | ({} if run is None else {"run": run})) + "\n")
        self._last = time.perf_counter()  # when the last evaluation ended, or this sitting began

    @property
    def clock(self) -> float:
        """Wall-clock seconds that the search had taken when the last evaluation ended, its earlier sittings included.

        What a search decides by it hangs on what is written, so that one that goes on, or is made again, decides alike.
        """
        return self.records[-1].clock if self.records else 0.0

    def _now(self) -> float:
        """The clock of an evaluation that ends now, or that its like had in the run that is made again."""
        done, last = len(self.records), self._last
        self._last = time.perf_counter()
        return self._earlier[done].clock if done < len(self._earlier) else self.clock + self._last - last

    @property
    def trials(self) -> list[Record]:
        """Finished trials, by number."""
        return sorted((r for r in self.records if r.kind == "trial"), key=lambda r: r.number)

    def bind(self, space: Space) -> None:
        """Begin a sitting, with points of this space.

        Raises:
            DataError: the journal's points are of another one; names the first parameter that differs, or the point.
        """
        self._last = time.perf_counter()
        described = space.described()
        if self.space is None:
            self.space = described
            self._write("space", {"dimensions": described})
        elif self.space != described:
            raise DataError(f"{self.path or 'journal'}: {on_a_line(_difference(self.space, described))}")
        points: list[Start | Record] = [*self.starts, *(r for r in self.records if r.kind in ("trial", "prior"))]
        for line in points:
            try:
                refuse_outside(line, space)
            except ValueError as error:
                found = f"damaged journal (number {line.number}: {on_a_line(str(error))})"
                raise DataError(f"{self.path or 'journal'}: {found}; allowed: points of its space") from error

    def start(self, start: Start) -> None:
        """Record that a trial was proposed."""
        self.starts.append(start)
        self._write("start", asdict(start))

    def lose(self, lost: Lost) -> None:
        """Record that a worker died."""
        self.lost.append(lost)
        self._write("lost", {"lost": lost.kind, "number": lost.number, "seed": lost.seed})

    def append(self, record: Record) -> None:
        """Record an evaluation that ended now."""
        record = replace(record, clock=ranks.told(self._now()))
        self.records.append(record)
        self._write(record.kind, asdict(record))

    def _write(self, kind: str, content: Mapping[str, Any]) -> None:
        if self._file is not None:
            record = {"kind": kind, **content}
            append(self._file, to_json({**record, SUM: self._sealed(record)}))

    def _sealed(self, record: Mapping[str, Any]) -> str:
        """The checksum of the next line, 8 hexadecimal digits: a line that is missing or moved changes those after."""
        self._sum = checksum(record, self._sum if self._version == VERSION else 0)
        return f"{self._sum:08x}"

    def _read(self, path: Path, complete: bytes) -> None:
        try:
            if not complete:
                raise ValueError("no whole line")
            header, *lines = [parsed(line) for line in complete.splitlines()]
            if header.get("version") not in (BY_LINE, VERSION):
                raise DataError(f"{path}: journal of another version; allowed: version {BY_LINE} or {VERSION}")
            if self._run is not None and header.get("run") != self._run:
                raise DataError(f"{path}: journal of another run; allowed: this run's own")
            self._version, ended = header["version"], defaultdict[str, set[tuple[int, int]]](set)
            for raw in lines:
                self._take(raw, ended)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: damaged journal ({on_a_line(str(error))}); allowed: as metaft wrote it"
            ) from error

    def _take(self, raw: dict[str, Any], ended: dict[str, set[tuple[int, int]]]) -> None:
        claimed, what = raw.pop(SUM, None), f"the {raw.get('kind')} {raw.get('number')}"
        if claimed != self._sealed(raw) and (claimed is not None or self._version == VERSION):
            raise ValueError(f"{SUM} {claimed} of {what} is not that of its line, or of those before it")
        line = made(raw)
        if isinstance(line, Start):
            self.starts.append(line)
        elif isinstance(line, Lost):
            self.lost.append(line)
        elif isinstance(line, Record):
            self.records.append(line)
        else:
            self.space = line
        if not self._in_turn(line, ended):
            raise ValueError(f"{what} is not in its turn")

    def _in_turn(self, line: Line, ended: dict[str, set[tuple[int, int]]]) -> bool:
        """Whether a line may come here: each once; a trial that has begun, or that is the next with a derivative."""
        if isinstance(line, Start):
            return line.number == len(self.starts) - 1
        if not isinstance(line, Record):
            return True
        earlier, key = ended[line.kind], (line.number, line.seed if line.kind == "final" else 0)
        derived = line.gradient is not None and line.number == len(earlier)
        fit = key not in earlier and (line.kind != "trial" or line.number < len(self.starts) or derived)
        earlier.add(key)
        return fit


def _begins(torn: bytes) -> bool:
    """Whether a file without a whole line holds the beginning of a journal's first one, and so no trial."""
    first = f'{{"version": {VERSION}'.encode()
    return b"}" not in torn[:-1] and (torn.startswith(first) or first.startswith(torn))


def _content(path: Path) -> tuple[bytes, bytes]:
    """The complete lines of a journal, and what is torn; empty where there is none.

    Raises:
        DataError: it is no file that can be read.
    """
    try:
        return complete_lines(path) if os.path.lexists(path) else (b"", b"")
    except OSError as error:
        raise DataError(f"{path}: journal that cannot be read ({fault_of_system(error)}); allowed: a file") from error


def _difference(kept: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> str:
    """A message on the first parameter in which two spaces differ: as the journal has it, and as it is wanted."""
    old, new = ({d["name"]: d for d in space} for space in (kept, wanted))
    for name in (*new, *old):
        if old.get(name) != new.get(name):
            sides = (_text(old.get(name), new.get(name)), _text(new.get(name), old.get(name)))
            return f"journal of another space: {name} is {sides[0]}; allowed: {sides[1]}, as in this search"
    return "journal of another space: the same parameters in another order; allowed: this search's order"


def _text(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    if one is None:
        return "not there"
    odd = {k: v for k, v in one.items() if other is None or other.get(k) != v}
    return ", ".join(f"{k} {v}" for k, v in odd.items())
