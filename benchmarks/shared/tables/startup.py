"""How soon the command line answers."""

from __future__ import annotations

from metaft.report.tables import markdown
from shared.rows import Row, committed


def startup() -> str:
    """Processor seconds of each command beside what was asked, and how many bare interpreters that is."""
    return markdown(["command", "asked, s", "taken, s", "taken / python"], [_line(row) for row in committed("startup")])


def _line(row: Row) -> list[str]:
    asked = "" if row["asked"] is None else f"{row['asked']:.1f}"
    return [f"`{row['command']}`", asked, f"{row['seconds']:.2f}", f"{row['ratio_to_python']:.1f}"]
