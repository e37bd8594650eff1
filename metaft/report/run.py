"""What a run has left beside its results, as far as a report shows it; what is missing or damaged is left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from metaft.errors import DataError, first_line, on_a_line
from metaft.events import EVENTS
from metaft.files import complete_lines, from_json
from metaft.report.document import Document
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Record
from metaft.space import Categorical, Dimension, Float, Int
from metaft.texts import read_text

EXAMPLES, WARNINGS = "examples.json", "warnings.txt"  # in the folder of a run
LARGE = 20_000_000  # bytes, beyond which examples are none
T = TypeVar("T")
Event = Mapping[str, Any]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Picture(_Form):
    """A picture as it stands in a page."""

    format: Literal["png", "jpeg"]
    base64: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Example(_Form):
    """An image of ood_val: its label, what two models say, and the picture (see `metaft.evaluation.examples`)."""

    label: str
    said: str
    before: str
    domain: str | None = None
    picture: Picture | None = None


class Kind(_Form):
    """Images that are fixed, or broken: how many, and some of them."""

    count: int
    shown: list[Example]


class Examples(_Form):
    """What one model fixes and breaks of another's on ood_val."""

    method: str
    over: str
    images: int
    fixed: Kind
    broken: Kind


@dataclass(frozen=True)
class Run:
    """A run as a report shows it.

    Args:
        name: what the page calls it.
        results: the contents of its results.json.
        records: of its search, in the order in which they ended.
        space: what was searched, in the order of a derivative.
        events: of metrics.jsonl.
        examples: of what is fixed and broken, if there are any.
        warned: what the run has warned of, a line each.
        odd: what could not be read, in words.
        short: a shorter name, where figures of several runs have little room.
        standing: how far it is, texts by name as `metaft watch` has them; empty: it has ended.
    """

    name: str
    results: Document
    records: Sequence[Record] = ()
    space: Sequence[Dimension] = ()
    events: Sequence[Event] = ()
    examples: Examples | None = None
    warned: Sequence[str] = ()
    odd: Sequence[str] = ()
    short: str = ""
    standing: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What figures call it: `short`, or else its name."""
        return self.short or self.name

    @property
    def trials(self) -> list[Record]:
        """The trials of the search, in the order in which they ended."""
        return [record for record in self.records if record.kind == "trial"]


def spread_out(items: Sequence[T], most: int) -> list[T]:
    """At most so many (two or more), evenly spread, the first and the last among them.

    >>> spread_out(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def run_in(folder: Path, results: Document, name: str | None = None, short: str = "") -> Run:
    """The run whose results these are, with what lies beside them in its folder."""
    odd: list[str] = []

    def read(what: str, reader: Callable[[Path], T], otherwise: T) -> T:
        path = folder / what
        if not os.path.lexists(path):
            return otherwise
        try:
            return reader(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, DataError) as error:
            odd.append(f"{what} is left out: {on_a_line(first_line(error))}")
            return otherwise

    nothing: Sequence[Event] = ()
    calm: Sequence[str] = ()
    no_space: Sequence[Dimension] = ()
    journal = read(str(PLACE), lambda path: Journal(path, read_only=True), Journal())
    events = read(EVENTS, _events, nothing)
    examples = read(EXAMPLES, lambda path: Examples.model_validate_json(read_text(path, LARGE)), None)
    space = read(str(PLACE), lambda path: _dimensions(journal.space or ()), no_space)
    warned = read(WARNINGS, lambda path: tuple(read_text(path, LARGE).splitlines()), calm)
    records = tuple(journal.records)
    return Run(name or folder.name, results, records, space, events, examples, warned, tuple(odd), short)


def _events(path: Path) -> Sequence[Event]:
    lines = [from_json(line) for line in complete_lines(path)[0].splitlines()]
    return tuple(line for line in lines if isinstance(line, Mapping))


def _dimensions(described: Sequence[Mapping[str, Any]]) -> Sequence[Dimension]:
    """A space's dimensions, from what a journal says of it."""
    return tuple(_KINDS[d["kind"]](d) for d in described)


_KINDS: dict[str, Callable[[Mapping[str, Any]], Dimension]] = {
    "Float": lambda d: Float(d["name"], d["low"], d["high"], scale=d["scale"]),
    "Int": lambda d: Int(d["name"], d["low"], d["high"], log=d["log"]),
    "Categorical": lambda d: Categorical(d["name"], d["choices"]),
}
