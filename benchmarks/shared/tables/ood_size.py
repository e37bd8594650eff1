"""What is handed back with few and many labelled OOD images, and with milder ones than the tests."""

from __future__ import annotations

from statistics import fmean

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.numbers import differences, grouped, mean
from shared.rows import committed
from shared.tables.worlds import cells_of, hindsight, plain_methods

SHOWN = ("zero_shot", "ft", "linear_probe_ood_val", BEST)
SOLVER = "hypergrad"
SEEDS, CELLS = 3, 9  # of a full run


def measured() -> str:
    """How far the benchmark has come."""
    done = grouped((r for r in committed("ood_size") if r["solver"] == SOLVER), "labels", "severity", "seed")
    return f"Of {SEEDS * CELLS} cells, {len(done)} are measured so far."


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
