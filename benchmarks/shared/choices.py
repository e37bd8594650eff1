"""Choices between rows: made on validation accuracy alone."""

from __future__ import annotations

from collections.abc import Sequence

from shared.rows import Row

CHOSEN_BY = {"ft": "id_val", "oracle": "own_val"}  # all others by ood_val


def chosen(rows: Sequence[Row], method: str) -> Row:
    """The row of a method with the best validation accuracy."""
    by = CHOSEN_BY.get(method, "ood_val")
    return max((r for r in rows if r["method"] == method and "failed" not in r), key=lambda r: float(r[by]))
