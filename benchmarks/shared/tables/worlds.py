"""Which method is best in which world, and what is handed back."""

from __future__ import annotations

from statistics import fmean

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.handed import METHODS
from shared.numbers import by_seed, differences, grouped, id_, mean, sign_flip, with_interval
from shared.rows import Row, committed
from shared.worlds import WORLDS


def rows_of(world: str, method: str, solver: str | None = None) -> list[Row]:
    """The rows of a method in a world, one for each seed."""
    wanted = {"world": world, "method": method, "solver": solver}
    return [r for r in committed("worlds") if wanted.items() <= r.items() and "failed" not in r]


def measured() -> str:
    """How far the benchmark has come."""
    cells = len(grouped(committed("worlds"), "world", "seed"))
    return f"{cells} of {3 * len(WORLDS)} cells are measured so far."


def methods() -> str:
    """OOD test accuracy of every plain method in every world, the best of a row in bold."""
    table = []
    for world in WORLDS:
        means = {name: mean(by_seed(rows)) for name in METHODS if (rows := rows_of(world.name, name))}
        if not means:
            continue
        best = max(v for name, v in means.items() if name != BEST)
        cells = [f"**{v:.1f}**" if v == best else f"{v:.1f}" for v in means.values()]
        table.append([f"{world.name}: {world.reason}", *cells])
    return markdown(["world", *METHODS], table)


def id_accuracies() -> str:
    """ID test accuracy of every plain method in every world."""
    table = []
    for world in WORLDS:
        if cells := [fmean(map(id_, rows)) for name in METHODS if (rows := rows_of(world.name, name))]:
            table.append([world.name, *(f"{v:.1f}" for v in cells)])
    return markdown(["ID test accuracy", *METHODS], table)


def solvers() -> tuple[str, ...]:
    """The solvers that have rows."""
    return tuple(s for (s,) in grouped(committed("worlds"), "solver") if s is not None)


def regret(solver: str) -> str:
    """What is handed back after a search, beside the best plain method with hindsight and a careful person's pick."""
    table, over = [], []
    for world in WORLDS:
        kept = by_seed(rows_of(world.name, "handed_back", solver))
        if not kept:
            continue
        plain = {name: by_seed(rows_of(world.name, name)) for name in METHODS if name != BEST}
        hindsight = max(plain.values(), key=lambda cells: mean({s: r for s, r in cells.items() if s in kept}))
        ahead = differences(kept, by_seed(rows_of(world.name, BEST)))
        over += ahead
        below_ft = differences(plain["ft"], kept, id_)
        names = ", ".join(dict.fromkeys(r["kept"] for r in kept.values()))
        numbers = (mean(kept), fmean(differences(hindsight, kept)), fmean(ahead), fmean(below_ft))
        table.append([world.name, *(f"{n:.1f}" for n in numbers), names])
    head = [f"{solver}", "OOD test", "regret", f"over {BEST}", "ID below ft", "handed back"]
    total = with_interval(over, "{:+.1f}") + f" over all cells, sign-flip p {sign_flip(over):.3f}" if over else ""
    return markdown(head, table) + f"\n\nOver `{BEST}`: {total}." if table else ""
