"""Which method is best in which world, and what is handed back there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.handed import GROUPS, METHODS
from shared.numbers import Cells, by_seed, differences, grouped, id_, mean, ood, sign_flip, with_interval
from shared.rows import Row, committed
from shared.worlds import WORLDS

PLAIN_ONES = tuple(name for name in METHODS if name != BEST)
OURS = "wise_probe"  # the plain method that came with this project
KEPT = 3.0  # points below ft in distribution, within which the promise of search.id_drop_max is kept


def cells_of(name: str, method: str, solver: str | None = None, **where: Any) -> Cells:
    """The rows of a method in one setting of a benchmark, by seed."""
    wanted = {**where, "method": method, "solver": solver}
    return by_seed(r for r in committed(name) if wanted.items() <= r.items() and "failed" not in r)


def plain_methods(name: str, **where: Any) -> dict[str, Cells]:
    """The cells of every plain method that was measured in a setting."""
    found = {method: cells_of(name, method, **where) for method in PLAIN_ONES}
    return {method: cells for method, cells in found.items() if cells}


def hindsight(plain: Mapping[str, Cells], kept: Cells, *, keeping_id: bool = False) -> Cells:
    """The plain method that is best on average over the cells; of those that keep ft's ID accuracy, if so asked."""
    in_cells = {name: {s: r for s, r in cells.items() if s in kept} for name, cells in plain.items()}
    if keeping_id:
        in_cells = {
            name: cells for name, cells in in_cells.items() if fmean(differences(plain["ft"], cells, id_)) <= KEPT
        }
    return max(in_cells.values(), key=mean)


def careful(plain: Mapping[str, Cells], *, keeping_id: bool = False) -> Cells:
    """Cell by cell the plain method that is best by ood_val; of those that id_val shows to keep ID, if so asked."""
    picks = {}
    for seed, ft in plain["ft"].items():
        rows = [cells[seed] for cells in plain.values() if cells.get(seed, {}).get("cross_fitted") is not None]
        if keeping_id:
            rows = [row for row in rows if _keeps_id(row, ft)]
        picks[seed] = max(rows, key=lambda row: (row["cross_fitted"], row["id_val"]))
    return picks


def _keeps_id(row: Row, ft: Row) -> bool:
    """Whether id_val shows a model at most so far below plain fine-tuning's."""
    return round(100 * (float(ft["id_val"]) - float(row["id_val"])), 6) <= KEPT


def measured() -> str:
    """How far the benchmark has come."""
    counts = ", ".join(f"{_done(solver)} with {solver}" for solver in solvers())
    return f"Of {3 * len(WORLDS)} cells, {counts or 'none'} are measured so far."


def _done(solver: str) -> int:
    return len(_cells(solver))


def _cells(solver: str) -> list[tuple[Any, ...]]:
    """The worlds and seeds in which a solver was measured."""
    return list(grouped((row for row in committed("worlds") if row["solver"] == solver), "world", "seed"))


def methods() -> str:
    """OOD test accuracy of every plain method in every world, the best of a row in bold."""
    table = []
    for world in WORLDS:
        means = {name: mean(cells) for name, cells in plain_methods("worlds", world=world.name).items()}
        if not means:
            continue
        best = max(means.values())
        bold = {name: f"**{v:.1f}**" if v == best else f"{v:.1f}" for name, v in means.items()}
        table.append([f"{world.name}: {world.reason}", *(bold.get(name, "") for name in PLAIN_ONES)])
    return markdown(["world", *PLAIN_ONES], table)


def id_accuracies() -> str:
    """ID test accuracy of every plain method in every world."""
    table = []
    for world in WORLDS:
        if cells := plain_methods("worlds", world=world.name):
            means = {name: f"{mean(rows, id_):.1f}" for name, rows in cells.items()}
            table.append([world.name, *(means.get(name, "") for name in PLAIN_ONES)])
    return markdown(["ID test accuracy", *PLAIN_ONES], table)


def solvers() -> tuple[str, ...]:
    """The solvers that have rows in the default space."""
    return tuple(s for (s,) in grouped(committed("worlds"), "solver") if s is not None and not s.endswith(GROUPS))


def hypergradients_against_tpe(space: str = "") -> str:
    """How far hypergradients are above TPE in the cells that both have; nothing where there is none.

    Args:
        space: what follows the solvers' names; empty: they search the default space.
    """
    learned, kept = (_ahead(f"hypergrad{space}", f"tpe{space}", method) for method in ("autoft", "handed_back"))
    if not learned:
        return ""
    means = [with_interval(values, "{:+.1f}") for values in (learned, kept)]
    return (
        f"Hypergradients against TPE at as many step equivalents, over the {len(learned)} cells that both have: "
        f"{means[0]} points for `autoft`, {means[1]} for what is handed back ({min(kept):+.1f} in the worst cell)."
    )


def _ahead(solver: str, other: str, method: str) -> list[float]:
    """How far a method is above itself with another solver, in the cells that both have."""
    pairs = ([cells_of("worlds", method, s, world=world.name) for s in (solver, other)] for world in WORLDS)
    return [ahead for pair in pairs for ahead in differences(*pair)]


def in_groups() -> str:
    """The same in the space with hyperparameters for each parameter group, and beside the default one."""
    compared = hypergradients_against_tpe(GROUPS)
    if not compared:
        return ""
    size = next(row["search"]["space_size"] for row in committed("worlds") if row["solver"] == f"hypergrad{GROUPS}")
    gained = _ahead(f"hypergrad{GROUPS}", "hypergrad", "autoft")
    there = _cells(f"hypergrad{GROUPS}")
    missing = [cell for cell in _cells("hypergrad") if cell not in there]
    counted = [f"{len(there)} of {3 * len(WORLDS)} cells are measured so far"]
    for seed in sorted({seed for _, seed in missing}):
        counted.append(f"of seed {seed} not {', '.join(world for world, other in missing if other == seed)}")
    return (
        f"Where each parameter group has its own learning rate, weight decay and penalties ({size} hyperparameters; "
        f"{'; '.join(counted)}): {compared} Beside the default space "
        f"hypergradients gain {with_interval(gained, '{:+.1f}')} points for `autoft` there."
    )


def behind(method: str, others: Sequence[str], world: str, seed: int) -> str:
    """How far a plain method is below others in one cell, in OOD points: from the nearest to the farthest."""
    plain = plain_methods("worlds", world=world)
    gaps = [ood(plain[other][seed]) - ood(plain[method][seed]) for other in others]
    return f"{min(gaps):.0f} to {max(gaps):.0f}"


def regret(solver: str) -> str:
    """What is handed back after a search, beside the best plain method with hindsight and a careful person's pick."""
    table, over, beyond = [], {name: list[float]() for name in ("all", "known", "kept")}, 0
    cells = list[str]()  # those of over["kept"]
    for world in WORLDS:
        where = {"world": world.name}
        kept = cells_of("worlds", "handed_back", solver, **where)
        if not kept:
            continue
        plain = plain_methods("worlds", **where)
        ahead = differences(kept, cells_of("worlds", BEST, **where))
        over["all"] += ahead
        over["known"] += differences(kept, careful({name: c for name, c in plain.items() if name != OURS}))
        within = {seed: row for seed, row in kept.items() if _keeps_id(row, plain["ft"][seed])}
        over["kept"] += differences(within, careful(plain, keeping_id=True))
        cells += [f"{world.name}, seed {seed}" for seed in sorted(within)]
        beyond += len(kept) - len(within)
        numbers = (
            *(mean(cells_of("worlds", name, solver, **where)) for name in ("autoft", "autoft_wise")),
            mean(kept),
            fmean(differences(hindsight(plain, kept), kept)),
            fmean(differences(hindsight(plain, kept, keeping_id=True), kept)),
            fmean(ahead),
            fmean(differences(plain["ft"], kept, id_)),
        )
        names = ", ".join(dict.fromkeys(r["kept"] for r in kept.values()))
        table.append([world.name, *(f"{n:.1f}" for n in numbers), names])
    columns = zip(*(row[1:-1] for row in table), strict=True)
    table.append(["mean", *(f"{fmean(map(float, column)):.1f}" for column in columns), ""])
    head = [
        *(f"{solver}: OOD test", "autoft", "autoft_wise", "handed back"),
        *("regret", "regret, ID kept", f"over {BEST}", "ID below ft", "method"),
    ]
    total, known, kept_id = (f"{with_interval(d, '{:+.1f}')} (sign-flip p {sign_flip(d):.3f})" for d in over.values())
    most = over["kept"].index(max(over["kept"]))
    others = round(fmean(x for i, x in enumerate(over["kept"]) if i != most), 1) + 0.0  # no -0.0
    return (
        f"{markdown(head, table)}\n\nOver `{BEST}`: {total}, {len(over['all'])} cells. Over the same choice without "
        f"`{OURS}`, which came with metaft: {known}. Over the same among methods that `id_val` shows at most "
        f"{KEPT:.0f} points below `ft`, in the {len(over['kept'])} cells where what is handed back is so too: "
        f"{kept_id}, or {others:+.1f} without one of them ({cells[most]}); in the other {beyond} it is further below."
    )
