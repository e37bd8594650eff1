"""What is lost by choosing one method for every world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from statistics import fmean

from metaft.finetune.methods import BEST, CEILING
from metaft.report.tables import markdown
from shared.numbers import grouped, id_, ood
from shared.rows import Row, committed
from shared.tables.worlds import solvers

Cells = Mapping[tuple[str, int], Row]  # by world and data seed
SEARCHED = ("autoft", "autoft_wise", "handed_back")


@cache
def methods() -> dict[str, Cells]:
    """The cells of every method; of those that search, and of what is handed back, they come from worlds.json.

    A fit that diverged is left as it began: it counts as zero_shot.
    """
    rows = [row for row in committed("regret") if not row["tuning"]]
    found = {method: _cells(of_method) for (method,), of_method in grouped(rows, "method").items()}
    begun = found["zero_shot"]
    found = {
        method: {c: begun[c] if "failed" in row else row for c, row in cells.items()} for method, cells in found.items()
    }
    for method, solver in ((BEST, None), *((method, solver) for solver in solvers() for method in SEARCHED)):
        cells = _cells(r for r in committed("worlds") if (r["method"], r["solver"]) == (method, solver))
        found[method if solver is None else f"{method}, {solver}"] = {c: cells[c] for c in begun if c in cells}
    return {method: cells for method, cells in found.items() if cells.keys() == begun.keys()}


def _cells(rows: Iterable[Row]) -> Cells:
    return {(row["world"], row["seed"]): row for row in rows}


def by_world(cells: Cells) -> dict[str, float]:
    """The OOD test accuracy in each world, in points: means over seeds."""
    return {world: fmean(map(ood, rows)) for (world,), rows in grouped(cells.values(), "world").items()}


def regrets() -> dict[str, dict[str, float]]:
    """How far each method is below the best of a world, in points, by method and world; the least on average first.

    The best is known with hindsight, of all but the ceiling.
    """
    means = {method: by_world(cells) for method, cells in methods().items() if method != CEILING}
    worlds = next(iter(means.values()))
    best = {world: max(of_method[world] for of_method in means.values()) for world in worlds}
    lost = {method: {world: best[world] - of_method[world] for world in worlds} for method, of_method in means.items()}
    return dict(sorted(lost.items(), key=lambda item: fmean(item[1].values())))


def compared() -> str:
    """Every method over all worlds: accuracies, regret, and what it costs; nothing where it stands on all others."""
    spent = {method: sum(r.get("step_equivalents", 0) for r in rows) for (method,), rows in _tunings().items()}
    table = []
    for method, lost in regrets().items():
        rows = methods()[method].values()
        worst = max(lost, key=lambda world: lost[world])
        steps = [r["step_equivalents"] + r.get("search", {}).get("step_equivalents", 0) for r in rows]
        table.append(
            [
                method,
                *(f"{fmean(map(value, rows)):.1f}" for value in (ood, id_)),
                *(f"{fmean(lost.values()):.1f}", f"{lost[worst]:.1f}: {worst}"),
                "" if method.startswith((BEST, "handed_back")) else f"{fmean(steps):,.0f}",
                f"{spent[method]:,.0f}" if method in spent else "",
            ]
        )
    cells = next(iter(methods().values()))
    head = [f"{len(cells)} cells", "OOD test", "ID test", "regret", "worst world", "steps", "tuning"]
    return markdown(head, table)


def lost(method: str) -> str:
    """The mean regret of a method."""
    return f"{fmean(regrets()[method].values()):.1f}"


def _tunings() -> dict[tuple[str, ...], list[Row]]:
    return grouped((row for row in committed("regret") if row["tuning"]), "method")
