"""Choices between rows: made on validation accuracy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.rows import Row

CHOSEN_BY = {"ft": "id_val", "oracle": "own_val"}  # all others by ood_val


def chosen(rows: Sequence[Row], method: str) -> Row:
    """The row of a method with the best validation accuracy."""
    by = CHOSEN_BY.get(method, "ood_val")
    return max((r for r in rows if r["method"] == method and "failed" not in r), key=lambda r: float(r[by]))


def balance(row: Row) -> float:
    """What knobs are judged by: the mean of both validation accuracies."""
    return (float(row["ood_val"]) + float(row["id_val"])) / 2


def tuned(rows: Sequence[Row], suite: str) -> dict[str, dict[str, Any]]:
    """Each method's best knobs of a suite; the first of equals."""
    trials = [r for r in rows if r["tuning"] and r["suite"].startswith(suite) and "failed" not in r]
    best: dict[str, Row] = {}
    for r in sorted(trials, key=lambda r: (-balance(r), r["number"])):
        best.setdefault(r["method"], r)
    return {method: row["knobs"] for method, row in best.items()}
