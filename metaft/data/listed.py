"""What a format gives of a split before any picture is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os.path import lexists
from pathlib import Path

from metaft.config.paths import as_on_disk
from metaft.data.stored import Files

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
    files: Files
    labels: Sequence[int]
    left_out: Counter[str] = field(default_factory=Counter)
    domains: Sequence[str | None] | None = None
    groups: Sequence[str] | None = None

    def once(self) -> Listed:
        """The same, each file of a class once: tables have a row for each of its captions."""
        first: dict[tuple[str, int], int] = {}
        pairs = enumerate(zip(self.files.kept, self.labels, strict=True))
        rows = [n for n, (file, of) in pairs if not isinstance(file, str) or first.setdefault((file, of), n) == n]
        again = Counter({AGAIN: len(self.files) - len(rows)})
        return replace(self.subset(rows), left_out=self.left_out + again) if again[AGAIN] else self

    def found(self) -> Listed:
        """The same, with each path in the Unicode form in which it is written on disk, in whichever a table has it."""
        files = self.files.kept
        texts = ((n, file) for n, file in enumerate(files) if isinstance(file, str) and not file.isascii())
        others = {n: str(as_on_disk(Path(file))) for n, file in texts if not lexists(file)}
        return replace(self, files=Files(others.get(n, f) for n, f in enumerate(files))) if others else self

    def subset(self, rows: Sequence[int]) -> Listed:
        """These files alone."""
        domains = None if self.domains is None else [self.domains[row] for row in rows]
        groups = None if self.groups is None else [self.groups[row] for row in rows]
        labels = [self.labels[row] for row in rows]
        return replace(self, files=self.files.at(rows), labels=labels, domains=domains, groups=groups)
