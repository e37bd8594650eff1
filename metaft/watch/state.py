"""What the files of a run tell of it while it goes on; nothing is written, and nobody is kept waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaft.config.paths import no_folder
from metaft.config.read import load
from metaft.config.schema import Config
from metaft.errors import ConfigError, DataError, fault_of_system, on_a_line
from metaft.events import EVENTS
from metaft.files import Added
from metaft.report.document import Document, read
from metaft.runfiles import PAGE, RESULTS, SEEDS, SETTINGS, SUMMARY
from metaft.search.journal import PLACE
from metaft.search.lines import SUM, Record, Start, made, parsed


@dataclass(frozen=True)
class State:
    """A run as its folder has it.

    Args:
        begun: how many trials were proposed or had a derivative.
        records: what the search has evaluated, in order, without an earlier search's trials.
        event: the last one of its methods, if there was any.
        results: None until data and model are open.
        written: when it last wrote to one of its files, in seconds since 1970.
    """

    folder: Path
    cfg: Config
    begun: int
    records: tuple[Record, ...]
    event: Mapping[str, Any] | None
    results: Document | None
    ended: bool
    written: float

    @property
    def trials(self) -> list[Record]:
        """Finished trials, by number."""
        return sorted((r for r in self.records if r.kind == "trial"), key=lambda r: r.number)

    @property
    def best(self) -> Record | None:
        """The trial with the lowest value of those that ran to the end."""
        ok = (r for r in self.records if r.kind == "trial" and r.outcome.status == "ok")
        return min(ok, key=lambda r: r.outcome.value, default=None)

    @property
    def searching(self) -> bool:
        """Whether it seeks an objective, now or when data and model are open."""
        if self.results is None:
            return self.cfg.search.mode is not None
        settled = self.results.get("objective") or self.results.get("failed")
        return self.results.get("mode") is not None and not settled

    @property
    def step_equivalents(self) -> float:
        """What the search has cost."""
        return sum(r.outcome.step_equivalents for r in self.records)

    @property
    def seconds(self) -> float:
        """The search's clock when the last evaluation ended."""
        return self.records[-1].clock if self.records else 0.0

    @property
    def spent(self) -> float | None:
        """The share of the search's budget that is used; None before anything is.

        Trials are a limit to all but the last choice, seconds and step equivalents to both.
        """
        search = self.cfg.search
        used = (
            (len(self.trials) * (1 - search.final_share), search.trials),
            (self.seconds, search.seconds),
            (self.step_equivalents, search.step_equivalents),
        )
        shares = [amount / limit for amount, limit in used if limit is not None]
        return min(1.0, max(shares)) if self.records else None

    @property
    def left(self) -> float | None:
        """Seconds until the search's budget is used, at the pace so far; None before there is one."""
        return self.seconds * (1 / self.spent - 1) if self.spent else None


class Looking:
    """Looks at the files of a run, again and again; lines that were read are not read again.

    A last line that is not whole, as one that is being written, does not count.

    Raises:
        DataError: the folder holds no run, or several.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._cfg = folder, _settings(folder)
        self._journal, self._events = Added(folder / PLACE), Added(folder / EVENTS)
        self._header = False  # whether the journal's first line was read
        self._starts, self._records = 0, list[Record]()
        self._event: Mapping[str, Any] | None = None

    def now(self) -> State:
        """What the files tell now.

        Raises:
            DataError: one of them cannot be read.
        """
        folder = self._folder
        if not folder.is_dir():
            raise DataError(f"{folder}: no folder any more; allowed: one that stays while it is looked at")
        ended = (folder / PAGE).exists()  # before the results are read, so that they are the last ones
        self._read(self._journal, self._take)
        self._read(self._events, self._remember)
        return State(
            folder=folder,
            cfg=self._cfg,
            begun=max(self._starts, sum(r.kind == "trial" for r in self._records)),
            records=tuple(self._records),
            event=self._event,
            results=read(folder) if os.path.lexists(folder / RESULTS) else None,
            ended=ended,
            written=max(_time(folder / name) for name in (SETTINGS, RESULTS, EVENTS, PLACE, PAGE)),
        )

    def _read(self, added: Added, take: Callable[[dict[str, Any]], None]) -> None:
        """Take the lines that have come."""
        try:
            for line in added.new():
                take(parsed(line))
        except OSError as error:
            raise DataError(f"{added.path}: {fault_of_system(error)}; allowed: a file that can be read") from error
        except (ValueError, RecursionError) as error:
            reason = on_a_line(str(error))
            raise DataError(f"{added.path}: damaged line ({reason}); allowed: as metaft wrote it") from error

    def _take(self, raw: dict[str, Any]) -> None:
        """Take a line of the journal."""
        if not self._header:
            self._header = "version" in raw
            if not self._header:
                raise ValueError("a first line without a version")
            return
        raw.pop(SUM, None)
        line = made(raw)
        if isinstance(line, Start):
            self._starts += 1
        elif isinstance(line, Record) and line.kind != "prior":
            self._records.append(line)

    def _remember(self, event: dict[str, Any]) -> None:
        """Keep the last event of all."""
        self._event = event


def runs_of(folder: Path) -> list[Path]:
    """The folders of the runs of several seeds that a folder holds, as far as they were begun; none where it is one."""
    if not (folder / SEEDS).exists():
        return []
    return sorted((path.parent for path in folder.glob(f"*/{SETTINGS}")), key=lambda run: (len(run.name), run.name))


def awaits_runs(folder: Path) -> bool:
    """Whether a folder is one of several seeds, of which not all runs have ended."""
    return (folder / SEEDS).exists() and not (folder / SUMMARY).exists()


def _settings(folder: Path) -> Config:
    allowed = "the folder of a run that was begun"
    if (folder / SEEDS).exists():
        inner = runs_of(folder)
        such = f", such as {inner[-1]}" if inner else ""
        raise DataError(f"{folder}: several runs; allowed: the folder of one{such}")
    if not (folder / SETTINGS).is_file():
        found = f"{folder}: no run" if folder.is_dir() else no_folder(folder)
        raise DataError(f"{found}; allowed: {allowed}")
    try:
        return load(folder / SETTINGS)
    except ConfigError as error:
        raise DataError(f"{folder / SETTINGS}: no settings of a run ({error.faults[0]}); allowed: {allowed}") from error


def _time(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
