"""What the files of a run tell of it while it goes on; nothing is written, and nobody is kept waiting."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaft.config.read import load
from metaft.config.schema import Config
from metaft.errors import ConfigError, DataError
from metaft.files import complete_lines, from_json
from metaft.report.document import Document, read
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Record

SETTINGS, RESULTS, EVENTS, LAST = "config.yaml", "results.json", "metrics.jsonl", "report.html"  # the last is the end


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
        return None if self.spent is None else self.seconds * (1 / self.spent - 1)


def state_of(folder: Path) -> State:
    """What a run's files tell now; a last line that is not whole, as one that is being written, does not count.

    Raises:
        DataError: the folder holds no run, or several, or a file that cannot be read.
    """
    cfg, journal = _settings(folder), Journal(folder / PLACE, read_only=True)
    records = tuple(r for r in journal.records if r.kind != "prior")
    ended = (folder / LAST).exists()  # before the results are read, so that they are the last ones
    return State(
        folder=folder,
        cfg=cfg,
        begun=max(len(journal.starts), sum(r.kind == "trial" for r in records)),
        records=records,
        event=_last_event(folder / EVENTS),
        results=read(folder) if os.path.lexists(folder / RESULTS) else None,
        ended=ended,
        written=max(_time(folder / name) for name in (SETTINGS, RESULTS, EVENTS, PLACE, LAST)),
    )


def _settings(folder: Path) -> Config:
    allowed = "the folder of a run that was begun"
    if (folder / "seeds.json").exists():
        inner = sorted(path.parent for path in folder.glob(f"*/{SETTINGS}"))
        such = f", such as {inner[-1]}" if inner else ""
        raise DataError(f"{folder}: several runs; allowed: the folder of one{such}")
    if not (folder / SETTINGS).is_file():
        found = "no run" if folder.is_dir() else "no folder"
        raise DataError(f"{folder}: {found}; allowed: {allowed}")
    try:
        return load(folder / SETTINGS)
    except ConfigError as error:
        raise DataError(f"{folder / SETTINGS}: no settings of a run ({error.faults[0]}); allowed: {allowed}") from error


def _last_event(path: Path) -> Mapping[str, Any] | None:
    """The event of the last whole line.

    Raises:
        DataError: it is none.
    """
    lines = complete_lines(path)[0].splitlines() if os.path.lexists(path) else []
    if not lines:
        return None
    try:
        return dict(from_json(lines[-1]))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: damaged last line; allowed: as metaft wrote it") from error


def _time(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
