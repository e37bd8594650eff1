"""By what to choose among fitted models where few labels judge."""

from __future__ import annotations

from statistics import fmean

from metaft.report.tables import markdown
from shared.numbers import grouped
from shared.rows import committed


def regrets() -> str:
    """The mean regret of each rule over worlds, by the number of labels, with the share of bad choices."""
    sizes = [*sorted({r["labels"] for r in committed("judges")} - {0}), 0]
    table = []
    for (share, errors), rows in grouped(committed("judges"), "share", "errors").items():
        by_size = {n: [r for r in rows if r["labels"] == n] for n in sizes}
        means = [f"{fmean(r['regret'] for r in by_size[n]):.2f}" for n in sizes]
        below = [f"{100 * fmean(r['below_zero_shot'] for r in by_size[n]):.1f}" for n in sizes[:1]]
        table.append(["metaft's" if share is None else f"{share:g}", f"{errors:g}", *means, *below])
    head = ["share of the loss", "errors off", *(f"{n} labels" if n else "all labels" for n in sizes)]
    return markdown([*head, f"worse than zero-shot, % of choices by {sizes[0]} labels"], table)
