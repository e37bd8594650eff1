"""What a format gives of a split before any picture is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from metaft.config.paths import as_on_disk
from metaft.data.stored import Stored

AGAIN = "listed again"


@dataclass(frozen=True)
class Listed:
    """The pictures of a split with their labels, and their domains and groups where they have names.

    Args:
        where: the folder or file that lists them.
        left_out: what it holds beside them, by reason.
        domains: of each file; None: it is in none.
        groups: of each file.
    """

    name: str
    where: Path
    files: Sequence[Stored]
    labels: Sequence[int]
    left_out: Counter[str] = field(default_factory=Counter)
    domains: Sequence[str | None] | None = None
    groups: Sequence[str] | None = None

    def once(self) -> Listed:
        """The same, each file of a class once: tables have a row for each of its captions."""
        first: dict[tuple[Stored, int], int] = {}
        pairs = zip(self.files, self.labels, strict=True)
        rows = [n for n, pair in enumerate(pairs) if not isinstance(pair[0], Path) or first.setdefault(pair, n) == n]
        again = Counter({AGAIN: len(self.files) - len(rows)})
        return replace(self.subset(rows), left_out=self.left_out + again) if again[AGAIN] else self

    def found(self) -> Listed:
        """The same, with each path in the Unicode form in which it is written on disk, in whichever a table has it."""
        return replace(self, files=[as_on_disk(file) if isinstance(file, Path) else file for file in self.files])

    def subset(self, rows: Sequence[int]) -> Listed:
        """These files alone."""
        domains = None if self.domains is None else [self.domains[row] for row in rows]
        groups = None if self.groups is None else [self.groups[row] for row in rows]
        files, labels = [self.files[row] for row in rows], [self.labels[row] for row in rows]
        return replace(self, files=files, labels=labels, domains=domains, groups=groups)
