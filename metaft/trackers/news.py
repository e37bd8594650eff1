"""What a run adds to its files, as numbers by part and step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaft.events import EVENTS
from metaft.files import Added, from_json
from metaft.search.journal import PLACE

SEARCH = "search"  # the part that trials are of


@dataclass(frozen=True)
class News:
    """Numbers of a part of a run at a step of it."""

    part: str
    step: int
    values: Mapping[str, float]


@dataclass
class Reader:
    """Reads a run's trials and events as they come."""

    run: Path
    _counts: Counter[str] = field(default_factory=Counter)
    _best: float = math.inf

    def __post_init__(self) -> None:
        self._trials, self._events = Added(self.run / PLACE), Added(self.run / EVENTS)

    def news(self) -> Iterator[News]:
        """What was added since the last call."""
        for line in objects(self._trials.new()):
            if line.get("kind") == "trial":
                yield self._of_trial(line)
        for event in objects(self._events.new()):
            yield self._of_event(event)

    def _of_trial(self, line: Mapping[str, Any]) -> News:
        """A trial's outcome, and the lowest value so far."""
        outcome = line["outcome"]
        if outcome["status"] == "ok":
            self._best = min(self._best, outcome["value"])
        values = numbers({**outcome, "best": self._best, "clock": line.get("clock")})
        return News(SEARCH, line["number"], values)

    def _of_event(self, event: dict[str, Any]) -> News:
        """An event of a method: of a step of its training, or beside it, numbered in the order in which they come."""
        method, step = str(event.pop("method", "run")), event.pop("step", None)
        if isinstance(step, int):
            return News(method, step, numbers(event))
        part = f"{method}.events"
        self._counts[part] += 1
        return News(part, self._counts[part] - 1, numbers(event))


def objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects that lines of JSON hold; what holds none is left out."""
    for line in lines:
        try:
            found = from_json(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def numbers(values: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """The finite numbers among values, those of mappings within by dotted names.

    >>> numbers({"loss": 0.5, "drift": {"all": 2, "head": None}, "head": "probe", "chosen": True})
    {'loss': 0.5, 'drift.all': 2.0}
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[before + name] = float(value)
    return found
