"""Whole runs of the README's first commands."""

from __future__ import annotations

from metaft.report.tables import markdown
from shared.numbers import grouped, spanned
from shared.rows import Row, committed

SAME_IN_EVERY_MODE = ("zero_shot", "ft", "wise_ft", "ft_ood_val", "dfr", "oracle")


def quickstart() -> str:
    """Accuracies and seconds of a run by suite, method and mode: means over seeds with their range."""
    table = []
    for (suite,), rows in grouped(committed("quickstart"), "suite").items():
        by_mode = {mode: of_mode for (mode,), of_mode in grouped(rows, "mode").items()}
        table += [[suite, method, *_accuracies(by_mode["hypergrad"], method), "", ""] for method in SAME_IN_EVERY_MODE]
        for mode, of_mode in by_mode.items():
            cost = (spanned([r[what] for r in of_mode], "{:.0f}") for what in ("trials", "seconds"))
            table.append([suite, f"autoft, {mode}", *_accuracies(of_mode, "autoft"), *cost])
    return markdown(["suite", "method", "ID test", "OOD test", "trials", "whole run, s"], table)


def _accuracies(rows: list[Row], method: str) -> list[str]:
    return [spanned([100 * r[split][method] for r in rows]) for split in ("id_test", "ood_test")]
