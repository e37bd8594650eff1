"""The journal of a search: JSON lines, appended as things happen, read back to resume."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from metaft import ranks
from metaft.errors import DataError
from metaft.files import append, claim, complete_lines, to_json, write
from metaft.progress import warn
from metaft.search.outcome import Outcome
from metaft.space import Space

VERSION = 2
PLACE = Path("search", "trials.jsonl")  # in the folder of a run
SUM = "crc"  # of a record, so that one that was changed is found out


@dataclass(frozen=True, slots=True)
class Start:
    """A trial that was proposed, its point in natural units."""

    number: int
    params: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A job whose worker died: the kind, number and seed of the record it was to become."""

    kind: str
    number: int
    seed: int


@dataclass(frozen=True, slots=True)
class Record:
    """An evaluation that ended: a `trial`; under its number, a `final` one on a fresh seed or a derivative's `check`;
    or a trial of an earlier search (`prior`).

    `reports` are (inner step, outer loss) in the run; `clock` is the search's wall-clock time at the end, in seconds.
    """

    kind: Literal["trial", "final", "check", "prior"]
    number: int
    params: Mapping[str, Any]
    seed: int
    outcome: Outcome
    gradient: tuple[float, ...] | None = None
    reports: tuple[tuple[int, float], ...] = ()
    clock: float = field(default=0.0, compare=False)


class Journal:
    """An append-only file with one writing process, or lists in memory where `path` is None.

    A last line torn by a crash is cut off and reported; the trial it held is run again. An empty file is begun anew.

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
        self._file = None if read_only else path
        if self._file is not None:
            self._file.parent.mkdir(exist_ok=True)
        self._claim = None if self._file is None else claim(self._file)
        if path is not None and path.exists() and path.stat().st_size:
            self._read(path)
        elif self._file is not None:
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
            DataError: the journal's points are of another one; names the first parameter that differs.
        """
        self._last = time.perf_counter()
        described = space.described()
        if self.space is None:
            self.space = described
            self._write("space", {"dimensions": described})
        elif self.space != described:
            raise DataError(f"{self.path or 'journal'}: {_difference(self.space, described)}")

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
            append(self._file, to_json({**record, SUM: _sum(record)}))

    def _read(self, path: Path) -> None:
        complete, torn = complete_lines(path)
        try:
            header, *lines = [json.loads(line) for line in complete.splitlines()]
            if header.get("version") != VERSION:
                raise DataError(f"{path}: journal of another version; allowed: version {VERSION}")
            if self._run is not None and header.get("run") != self._run:
                raise DataError(f"{path}: journal of another run; allowed: this run's own")
            for line in lines:
                self._take(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"{path}: damaged journal ({reason}); allowed: one JSON record a line") from error
        if torn and self._file is not None:
            warn(f"{path}: cut off an unfinished last line; its trial is run again")
            write(path, complete)

    def _take(self, raw: dict[str, Any]) -> None:
        claimed = raw.pop(SUM, None)
        if claimed not in (None, _sum(raw)):
            raise ValueError(f"{SUM} {claimed} of the {raw.get('kind')} {raw.get('number')} is not that of its line")
        kind = raw["kind"]
        if kind == "space":
            self.space = raw["dimensions"]
        elif kind == "start":
            self.starts.append(Start(raw["number"], raw["params"], raw["seed"]))
        elif kind == "lost":
            self.lost.append(Lost(raw["lost"], raw["number"], raw["seed"]))
        elif kind in ("trial", "final", "check", "prior"):
            self.records.append(_record(raw))
        else:
            raise ValueError(f"a record of kind {kind!r}")


def _sum(record: Mapping[str, Any]) -> str:
    """The checksum of a record, 8 hexadecimal digits."""
    return f"{zlib.crc32(to_json(record).encode()):08x}"


def _record(raw: dict[str, Any]) -> Record:
    outcome: dict[str, Any] = {k: math.inf if v is None else v for k, v in raw.pop("outcome").items()}
    outcome["mixes"] = tuple(math.inf if v is None else v for v in outcome.get("mixes", ()))
    gradient, reports = raw.pop("gradient"), raw.pop("reports")
    return Record(
        **raw,
        outcome=Outcome(**outcome),
        gradient=None if gradient is None else tuple(math.nan if g is None else g for g in gradient),
        reports=tuple((step, math.nan if loss is None else loss) for step, loss in reports),
    )


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
