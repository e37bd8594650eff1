"""What makes a search by hypergradients better in the same time, or at the same cost."""

from __future__ import annotations

from statistics import fmean

from metaft.report.tables import markdown
from shared.numbers import grouped, with_interval
from shared.rows import committed

FIRST = "exact"


def compared(within: str) -> str:
    """The loss of what each way chooses beside that of exact hypergradients, in the same cells; hundredths."""
    told = [row for row in committed("descents") if row["within"] == within]
    ways = {way: {(r["world"], r["seed"]): r for r in rows} for (way,), rows in grouped(told, "way").items()}
    table = []
    for way, cells in ways.items():
        both = [(cells[cell], exact) for cell, exact in ways[FIRST].items() if cell in cells]
        gained = [100 * (exact["loss"] - row["loss"]) for row, exact in both]
        below = [100 * (row["recipe"] - row["loss"]) for row, _ in both]
        table.append(
            [
                way,
                str(len(both)),
                f"{fmean(row['hypergradients'] for row, _ in both):.0f}",
                f"{fmean(below):.1f}",
                *(["", ""] if way == FIRST else [with_interval(gained), str(sum(x > 0 for x in gained))]),
            ]
        )
    head = ["way", "cells", "hypergradients", "below the recipe", "below exact", "better in"]
    return markdown(head, table)
