"""Whole runs of the README's first commands."""

from __future__ import annotations

from collections.abc import Iterable

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.numbers import grouped, spanned
from shared.rows import Row, committed

LEARNED = ("autoft", "autoft_wise")


def quickstart() -> str:
    """Accuracies and seconds of a run by suite, method and mode: means over seeds with their range."""
    table = []
    for (suite,), rows in grouped(committed("quickstart"), "suite").items():
        by_mode = {mode: of_mode for (mode,), of_mode in grouped(rows, "mode").items()}
        for method in (name for name in rows[0]["ood_test"] if name not in LEARNED):
            table.append([suite, method, *_accuracies((r, method) for r in by_mode["hypergrad"]), "", ""])
        for mode, of_mode in by_mode.items():
            cost = (spanned([r[what] for r in of_mode], "{:.0f}") for what in ("trials", "seconds"))
            table.append([suite, f"autoft, {mode}", *_accuracies((r, "autoft") for r in of_mode), *cost])
            kept = _accuracies((r, r["handed_back"]) for r in of_mode)
            table.append([suite, f"handed back, {mode}", *kept, "", ""])
    return markdown(["suite", "method", "ID test", "OOD test", "trials", "whole run, s"], table)


def _accuracies(methods: Iterable[tuple[Row, str]]) -> list[str]:
    """Of a method in each run."""
    chosen = list(methods)
    return [spanned([100 * r[split][name] for r, name in chosen]) for split in ("id_test", "ood_test")]


def longer(seconds: float) -> str:
    """How many runs took longer than so many seconds."""
    rows = committed("quickstart")
    return f"{sum(r['seconds'] > seconds for r in rows)} of {len(rows)} runs"


def over_best(mode: str, suite: str) -> list[float]:
    """By how many OOD points the learned objective is above what a careful person would pick, by run."""
    rows = [r["ood_test"] for r in committed("quickstart") if (r["mode"], r["suite"]) == (mode, suite)]
    return [100 * (ood["autoft"] - ood[BEST]) for ood in rows]
