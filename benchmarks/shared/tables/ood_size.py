"""What is handed back with few and many labelled OOD images, and with milder ones than the tests."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.numbers import differences, grouped, mean
from shared.rows import committed
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
    lost: dict[bool, list[float]] = {True: [], False: []}
    for labels, severity in grouped(committed("ood_size"), "labels", "severity"):
        where = {"labels": labels, "severity": severity}
        kept = cells_of("ood_size", "handed_back", SOLVER, **where)
        lost[labels <= FEW] += differences(cells_of("ood_size", "zero_shot", **where), kept)
    with_few, with_more = (_beyond(losses) for losses in lost.values())
    return (
        f"What is handed back is more than a point below the zero-shot model in {with_few} with {FEW} labels or "
        f"fewer, and in {with_more} with more."
    )


def _beyond(losses: Sequence[float]) -> str:
    """In how many cells more than a point is lost, and how much at most."""
    most = f" (by up to {max(losses):.1f})" if max(losses) > POINT else ""
    return f"{sum(loss > POINT for loss in losses)} of {len(losses)} cells{most}"


def lost(least: int) -> str:
    """How far what is handed back is below the plain method that is best with so many labels or more, with hindsight.

    Of validation as severe as the tests: the most on average over seeds, and in one cell.
    """
    means, cells = list[float](), list[float]()
    for labels, severity in grouped(committed("ood_size"), "labels", "severity"):
        if labels >= least and severity == 1:
            where = {"labels": labels, "severity": severity}
            kept = cells_of("ood_size", "handed_back", SOLVER, **where)
            each = differences(hindsight(plain_methods("ood_size", **where), kept), kept)
            means.append(fmean(each))
            cells += each
    return f"at most {max(means):.1f} points on average over seeds, and {max(cells):.1f} in the worst cell"


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
