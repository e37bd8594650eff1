"""What is handed back with few and many labelled OOD images, and with milder ones than the tests."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.numbers import differences, grouped, mean
from shared.rows import Row, committed
from shared.tables.worlds import cells_of, hindsight, plain_methods

SHOWN = ("zero_shot", "ft", "linear_probe_ood_val", BEST)
SOLVER = "hypergrad"
FEW, POINT = 20, 1.0
SEEDS, CELLS = 3, 9  # of a full run


def measured() -> str:
    """How far the benchmark has come."""
    done = grouped((r for r in committed("ood_size") if r["solver"] == SOLVER), "labels", "severity", "seed")
    return f"{len(done)} of {SEEDS * CELLS} cells are measured."


def below_zero_shot() -> str:
    """In how many cells what is handed back is clearly below the zero-shot model."""
    found = {}
    for few in (True, False):
        cells = [row for row in committed("ood_size") if (row["labels"] <= FEW) == few]
        lost = [zero - kept for kept, zero in _pairs(cells)]
        below = [loss for loss in lost if loss > POINT]
        found[few] = f"{len(below)} of {len(lost)} cells" + (f" (by up to {max(below):.1f})" if below else "")
    return (
        f"What is handed back is more than a point below the zero-shot model in {found[True]} with {FEW} labels or "
        f"fewer, and in {found[False]} with more."
    )


def _pairs(rows: Iterable[Row]) -> list[tuple[float, float]]:
    """OOD test accuracy of what is handed back and of the zero-shot model in each cell, in points."""
    by_cell = grouped(rows, "labels", "severity", "seed")
    of = [{row["method"]: 100 * fmean(row["ood_test"].values()) for row in cell} for cell in by_cell.values()]
    return [(cell["handed_back"], cell["zero_shot"]) for cell in of]


def regret() -> str:
    """OOD test accuracy by the number of labels and their severity, and the regret of what is handed back."""
    table = []
    for labels, severity in sorted(grouped(committed("ood_size"), "labels", "severity")):
        where = {"labels": labels, "severity": severity}
        kept = cells_of("ood_size", "handed_back", SOLVER, **where)
        if not kept:
            continue
        others = [cells_of("ood_size", name, **where) for name in SHOWN]
        learned = cells_of("ood_size", "autoft", SOLVER, **where)
        best = hindsight(plain_methods("ood_size", **where), kept)
        numbers = [*(mean(cells) for cells in (*others, learned, kept)), fmean(differences(best, kept))]
        names = ", ".join(dict.fromkeys(r["kept"] for r in kept.values()))
        table.append([str(labels), f"{severity:g}", str(len(kept)), *(f"{n:.1f}" for n in numbers), names])
    head = ["labels", "severity", "seeds", *SHOWN, "autoft", "handed back", "regret", "method"]
    return markdown(head, table)
