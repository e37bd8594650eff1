"""Whether a run that was made again came to the same, part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from metaft.files import to_json, write
from metaft.report.document import read
from metaft.report.tables import markdown
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Record

FILE = "reproduction.json"
WEIGHTS = ("open_clip_model.safetensors", "head.safetensors")
Leaves = dict[str, Any]  # what nested maps and lists hold, by its place


@dataclass(frozen=True)
class Reproduction:
    """Two runs beside each other.

    Args:
        of: the folder of the first.
        parts: by part of a run, how many of its numbers and names are not the same, and the first or the farthest of
            them; empty where all are.
    """

    of: str
    parts: Mapping[str, str]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not any(self.parts.values())

    def table(self) -> str:
        """A Markdown table, one row a part."""
        rows = [[name, found or "the same"] for name, found in self.parts.items()]
        return markdown(["of the run", "made again"], rows, numbers=False)

    def write(self, folder: Path) -> None:
        """Write reproduction.json into the second run's folder."""
        write(folder / FILE, to_json({**asdict(self), "same": self.same}, indent=1) + "\n")


def reproduction(first: Path, again: Path) -> Reproduction:
    """Compare two finished runs: trials, objective, scores, the choice, and the model, but for times.

    Raises:
        DataError: what one of them holds cannot be read.
    """
    old, new = read(first), read(again)
    parts = {
        "trials": _trials(first, again),
        **{name: _apart(old.get(name), new.get(name)) for name in ("objective", "methods", "failed", "handed_back")},
        "model": _weights(first / "model", again / "model"),
    }
    return Reproduction(str(first), parts)


def _trials(first: Path, again: Path) -> str:
    old, new = (_untimed(folder / PLACE) for folder in (first, again))
    if len(old) != len(new):
        return f"{len(new)} evaluations, not {len(old)}"
    odd = [(a, b) for a, b in zip(old, new, strict=True) if _apart(a, b)]
    if not odd:
        return ""
    (a, b), kind = odd[0], odd[0][0]["kind"]
    return f"{len(odd)} of {len(old)} evaluations differ, first {kind} {a['number']}: {_apart(a, b)}"


def _untimed(journal: Path) -> list[Leaves]:
    """The records of a journal without times; none where there was no search."""
    records = Journal(journal, read_only=True).records if journal.exists() else []
    return [_without_times(record) for record in sorted(records, key=lambda r: (r.kind, r.number, r.seed))]


def _without_times(record: Record) -> Leaves:
    raw = asdict(record)
    del raw["clock"], raw["outcome"]["seconds"]
    return raw


def _weights(first: Path, again: Path) -> str:
    """The farthest that any weight of two exported models is apart."""
    if not (first.exists() or again.exists()):
        return ""
    old, new = ({k: t for name in WEIGHTS for k, t in load_file(folder / name).items()} for folder in (first, again))
    if {name: t.shape for name, t in old.items()} != {name: t.shape for name, t in new.items()}:
        return "a model of other shapes"
    apart = {name: float((t.double() - new[name].double()).abs().max()) for name, t in old.items() if t.numel()}
    name = max(apart, key=apart.__getitem__)
    return f"weights differ by at most {apart[name]:.2g}, in {name}" if apart[name] > 0 else ""


def _apart(old: Any, new: Any) -> str:
    """How two JSON values differ: in how many places, and the farthest two numbers, or else the first two values."""
    a, b = dict(_leaves(old)), dict(_leaves(new))
    places = [place for place in dict.fromkeys([*a, *b]) if not _equal(a.get(place), b.get(place))]
    if not places:
        return ""
    farthest = max(places, key=lambda place: _distance(a.get(place), b.get(place)))
    return f"{len(places)} of {len(a)} differ, {farthest}: {a.get(farthest)} and {b.get(farthest)}"


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping | list | tuple):
        yield place or "it", value
        return
    for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _leaves(inner, f"{place} {name}".strip())


def _equal(a: Any, b: Any) -> bool:
    both = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return both or (a == b and type(a) is type(b))


def _distance(a: Any, b: Any) -> float:
    """How far apart two numbers are; infinitely far where one is none."""
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in (a, b)):
        return math.inf
    return float(abs(a - b))
