"""The results in one table, which the README shows too."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from metaft.finetune.methods import BEST
from metaft.report.tables import markdown
from shared.numbers import Cells, differences, id_, mean, ood, with_interval
from shared.tables.worlds import OURS, cells_of, hindsight, plain_methods
from shared.worlds import WORLDS

LABELS = {
    "zero_shot": "the zero-shot model",
    "ft": "plain fine-tuning, `ft`",
    "wise_ft": "weight interpolation, `wise_ft`",
    "linear_probe": "a linear probe, `linear_probe`",
    "ft_ood_val": "fine-tuning on OOD validation too, `ft_ood_val`",
    "linear_probe_ood_val": "a linear probe on both, `linear_probe_ood_val`",
    "wise_probe": "the zero-shot head mixed with a probe on both, `wise_probe`",
    BEST: "the best of eight such methods by OOD validation, `best_by_ood_val`",
}
SEARCHES = {"hypergrad": "metaft, `--mode hypergrad`", "tpe": "metaft, `--mode tpe`"}
ByWorld = Mapping[str, Cells]


def summary() -> str:
    """One way for all worlds: accuracies, and how far below the plain method that is best in a world with hindsight."""
    ways = {label: _in_worlds(name, None) for name, label in LABELS.items()}
    ways |= {label: _in_worlds("handed_back", solver) for solver, label in SEARCHES.items()}
    table = [[label, *(f"{n:.1f}" for n in _numbers(cells))] for label, cells in ways.items()]
    count = sum(map(len, ways[LABELS["ft"]].values()))
    titles = ["ID test, %", "OOD test, %", "below the world's best", "in the worst world"]
    return markdown([f"{len(WORLDS)} worlds, {count} cells", *titles], table)


def nearest() -> str:
    """How near one plain method for all worlds comes to the best of each, and what is handed back beside it."""
    ours, (mode, *_) = _in_worlds(OURS, None), SEARCHES
    best = {world: hindsight(plain_methods("worlds", world=world), cells) for world, cells in ours.items()}
    below = {world: mean(best[world]) - mean(cells) for world, cells in ours.items()}
    *near, worst = sorted(below, key=lambda world: below[world])
    kept = _in_worlds("handed_back", mode)
    out, inside = ([x for w in ours for x in differences(kept[w], ours[w], value)] for value in (ood, id_))
    elsewhere = [x for world in near for x in differences(kept[world], ours[world])]
    return (
        f"`{OURS}`, which came with metaft, is within {max(below[world] for world in near):.1f} points of the best in "
        f"{len(near)} worlds, and {below[worst]:.1f} below it in `{worst}`; what is handed back (`--mode {mode}`) is "
        f"{with_interval(out, '{:+.1f}')} points above it out of distribution ({with_interval(elsewhere, '{:+.1f}')} "
        f"without `{worst}`) and {with_interval(inside, '{:+.1f}')} in distribution."
    )


def _in_worlds(method: str, solver: str | None) -> ByWorld:
    """The cells of a method by world."""
    return {world.name: cells_of("worlds", method, solver, world=world.name) for world in WORLDS}


def _numbers(by_world: ByWorld) -> tuple[float, ...]:
    """ID and OOD accuracy, and how far it is below the best plain method of each world: the mean, and the most."""
    best = {world: hindsight(plain_methods("worlds", world=world), cells) for world, cells in by_world.items()}
    below = [mean(best[world]) - mean(cells) for world, cells in by_world.items()]
    id_test, ood_test = (fmean(mean(cells, value) for cells in by_world.values()) for value in (id_, ood))
    return id_test, ood_test, fmean(below), max(below)
