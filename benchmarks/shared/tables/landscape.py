"""How far a hypergradient holds."""

from __future__ import annotations

from itertools import product
from statistics import median

from metaft.report.tables import markdown
from shared.numbers import grouped
from shared.rows import committed

ALONG = "hypergradient"


def ratios() -> dict[tuple[int, str], dict[float, list[float]]]:
    """Slope over derivative along the hypergradient, by T and rate, then by step: one for each seed."""
    rows = [r for r in committed("landscape") if r["direction"] == ALONG]
    return {
        (T, rate): {
            step: [r["slope"] / r["derivative"] for r in part] for (step,), part in grouped(of_point, "step").items()
        }
        for (T, rate), of_point in grouped(rows, "T", "rate").items()
    }


def along() -> str:
    """Slope over derivative along the hypergradient, by the length of the step: the median over seeds."""
    found = ratios()
    steps = sorted({step for by_step in found.values() for step in by_step})
    table = [
        [f"T = {T}, lr x {rate}", *(f"{median(found[T, rate][step]):.2f}" for step in steps)]
        for T, rate in product(*(dict.fromkeys(key[i] for key in found) for i in (0, 1)))
        if (T, rate) in found
    ]
    return markdown(["slope / derivative over a step of", *(f"{step:g}" for step in steps)], table)
