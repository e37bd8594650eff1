"""What a run has read as it began, so that a picture that is lost later leaves all others their places.

Where unreadable pictures are skipped, one that goes bad while a model trains is stood in for by another of its class.
So is one that has gone bad, or is gone, when the run goes on, or when a worker opens the data: what is drawn by number
(batches, held-out parts, folds) stays what it was. Other changes of the data are refused as ever.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from metaft.data.listed import Listed
from metaft.data.stored import Files, StandIn, Stored
from metaft.errors import DataError, first_line, without_allowed
from metaft.progress import warn
from metaft.texts import read_text

MOST = 0.1  # the share of a split's pictures that others stand in for; more are lost where a disk is gone
LEFT_OUT = "unreadable as the run began"
Print = dict[str, Any]  # the fingerprint of a split, as in a run's identity


class Row(NamedTuple):
    """A picture that could be read: its file as text, and what was known of it."""

    file: str
    label: int
    domain: str | None = None
    group: str | None = None


class Seen(NamedTuple):
    """The fingerprint of a split, and its parts: of what is known of images, and of each image that it is of."""

    whole: Print
    parts: list[str]


@dataclass
class FirstReading:
    """The pictures of each listed split that could be read, in order, and what the splits were; empty to begin with.

    Args:
        unread: the files of each that could not be read, and are left out for good.
    """

    read: dict[str, list[Row]] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> FirstReading:
        """What a file says that `to_json` made.

        Raises:
            DataError: it cannot be read.
        """
        try:
            said = json.loads(read_text(path))
            read = {name: [Row(*row) for row in rows] for name, rows in said["read"].items()}
            unread = {name: list(files) for name, files in said["unread"].items()}
            return cls(read, unread, {name: Seen(*seen) for name, seen in said["seen"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            found = f"what the run has read cannot be known ({first_line(error)})"
            raise DataError(f"{path}: {found}; allowed: the file as it was written") from error

    def to_json(self) -> str:
        """The text of a file."""
        return json.dumps({"read": self.read, "unread": self.unread, "seen": self.seen}) + "\n"

    def note(self, listed: Listed, rows: Sequence[int]) -> None:
        """Take down what could be read of a split, the first time."""
        domains, groups = ([None] * len(listed.files) if x is None else x for x in (listed.domains, listed.groups))
        read = [Row(str(listed.files.kept[n]), listed.labels[n], domains[n], groups[n]) for n in rows]
        kept = {*rows}
        if listed.name not in self.read:
            self.read[listed.name] = read
            self.unread[listed.name] = [str(file) for n, file in enumerate(listed.files.kept) if n not in kept]

    def as_listed(self, listed: Listed) -> Listed:
        """The split as it was listed then: with files that are gone in their places, without those that were unread."""
        out = {*self.unread.get(listed.name, ())}
        rows = [number for number, file in enumerate(listed.files.kept) if str(file) not in out]
        if len(rows) < len(listed.files):
            left_out = listed.left_out + Counter({LEFT_OUT: len(listed.files) - len(rows)})
            listed = replace(listed.subset(rows), left_out=left_out)
        return self._with_gone(listed)

    def _with_gone(self, listed: Listed) -> Listed:
        rows, now = self.read.get(listed.name, []), {str(file): number for number, file in enumerate(listed.files.kept)}
        if all(row.file in now for row in rows):
            return listed
        before = {row.file for row in rows}
        rows = rows + [Row(file, listed.labels[number]) for file, number in now.items() if file not in before]

        def each(known: Sequence[Any], field: str) -> list[Any]:
            return [known[now[row.file]] if row.file in now else getattr(row, field) for row in rows]

        return replace(
            listed,
            files=Files(listed.files.kept[now[row.file]] if row.file in now else row.file for row in rows),
            labels=each(listed.labels, "label"),
            domains=None if listed.domains is None else each(listed.domains, "domain"),
            groups=None if listed.groups is None else each(listed.groups, "group"),
        )

    def stood_in(self, listed: Listed, faults: Mapping[int, str]) -> Listed:
        """The split with others of their classes in the place of pictures that were read and cannot be any more.

        Raises:
            DataError: these are more than a few.
        """
        before = {row.file for row in self.read.get(listed.name, [])}
        lost = [number for number in faults if str(listed.files.kept[number]) in before]
        if not lost:
            return listed
        found = f"{len(lost)} of {len(before)} pictures that were read as the run began cannot be any more"
        if len(lost) > max(1, MOST * len(before)):
            allowed = f"{MOST:.0%} of them, which others of their classes stand in for; or a new run"
            raise DataError(
                f"{listed.name}: {found}, the first: {without_allowed(faults[lost[0]])}; allowed: {allowed}"
            )
        files = list(listed.files)
        for number, other in _others(listed, lost, faults).items():
            files[number] = StandIn(str(listed.files[number]), listed.files[other])
        first = f"{without_allowed(faults[lost[0]])}; {_instead(files[lost[0]])}"
        warn(f"{listed.name}: {found}, {'' if len(lost) == 1 else 'the first: '}{first}")
        return replace(listed, files=Files(files))

    def fingerprints(self, now: Mapping[str, Seen]) -> dict[str, Print]:
        """The fingerprints of splits: those that they had, where they differ by stand-ins alone, whose parts are ''."""
        return {name: self._as_it_was(seen, self.seen.setdefault(name, seen)) for name, seen in now.items()}

    @staticmethod
    def _as_it_was(now: Seen, then: Seen) -> Print:
        same = len(now.parts) == len(then.parts) and now.whole["n"] == then.whole["n"]
        pairs = zip(now.parts, then.parts, strict=True) if same else ()
        return then.whole if same and all(part in ("", known) for part, known in pairs) else now.whole


def _others(listed: Listed, lost: Sequence[int], faults: Collection[int]) -> dict[int, int]:
    """For each lost picture the next of its class that can be read, round to the first; none where there is none."""
    readable: dict[int, list[int]] = defaultdict(list)
    for number, label in enumerate(listed.labels):
        if number not in faults:
            readable[label].append(number)
    own = {number: readable[listed.labels[number]] for number in lost}
    return {number: found[bisect(found, number) % len(found)] for number, found in own.items() if found}


def _instead(file: Stored) -> str:
    """What stands in for a lost picture, if anything does."""
    return f"{file.file} stands in for it" if isinstance(file, StandIn) else "no other of its class can be read"
