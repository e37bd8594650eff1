"""The searches of shapes, beside the methods of the same cells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from statistics import fmean, median

from metaft.report.tables import markdown
from shared.numbers import Cells, by_seed, differences, grouped, id_, mean, ood, sign_flip, with_interval
from shared.rows import Row, committed

SIZES = {"standard": 11, "groups": 71}
HEADS = {"zero_shot": "zero-shot", "linear_probe": "probe"}


def searches() -> list[Row]:
    """Every row that gave a result."""
    return [r for r in committed("solvers") if "failed" not in r]


def searched(solver: str, head: str | None, space: str | None = None, budget: str | None = None) -> Cells:
    """The cells of one solver, or method; with the largest budget where none is named."""
    which = (solver, head, space, None)
    rows = [r for r in searches() if (r["solver"], r["head"], r["space"], r["ablation"]) == which]
    largest = max((r["budget"] for r in rows if r["budget"]), key=_limit, default=None)
    return by_seed(r for r in rows if r["budget"] == (budget or largest))


def changed(kind: str) -> dict[str, Cells]:
    """The cells in which one thing is changed, by that thing, with a budget of a kind: `steps` or `trials`."""
    rows = [r for r in searches() if r["ablation"] and r["budget"].startswith(kind)]
    return {ablation: by_seed(of_one) for (ablation,), of_one in grouped(rows, "ablation").items()}


def _limit(budget: str) -> float:
    return float(budget.partition(":")[2])


def budgets() -> list[str]:
    """The wall-clock budgets, the smallest first."""
    return sorted({r["budget"] for r in searches() if (r["budget"] or "").startswith("wall:")}, key=_limit)


def solvers() -> str:
    """Every head, solver, space and budget: accuracies after the final fine-tune, and what the search took."""
    names = dict.fromkeys(r["solver"] for r in searches() if r["space"] and r["solver"] != "online")
    table = []
    for head, label in HEADS.items():
        recipe = searched("recipe", head)
        table.append([label, "recipe", "", "", *_accuracies(recipe), "", "", ""])
        for space, solver, budget in product(SIZES, names, budgets()):
            if cells := searched(solver, head, space, budget):
                what = [label, solver, str(SIZES[space]), f"{_limit(budget):.0f}"]
                gain = with_interval(differences(cells, recipe), "{:+.1f}")
                table.append([*what, *_accuracies(cells), gain, _median(cells, "trials"), _spent(cells)])
    titles = ["head", "solver", "K", "search, s", "ID test", "OOD test", "OOD - recipe", "trials", "step equivalents"]
    return markdown(titles, table)


def _accuracies(cells: Cells) -> list[str]:
    return [with_interval([value(r) for r in cells.values()]) for value in (id_, ood)]


def _median(cells: Cells, key: str) -> str:
    return f"{median(r[key] for r in cells.values()):,.0f}"


def _spent(cells: Cells) -> str:
    return _median(cells, "step_equivalents")


def over_probe(head: str) -> list[float]:
    """OOD points of the larger search above the linear probe, by cell."""
    return differences(searched("hypergrad", head, "groups", budgets()[-1]), searched("linear_probe", None))


def over_random() -> list[float]:
    """OOD points of the smaller search above a random one, from the class names' head, by cell."""
    descents, random = (searched(solver, "zero_shot", "standard", budgets()[-1]) for solver in ("hypergrad", "random"))
    return differences(descents, random)


def pairs(head: str) -> dict[str, tuple[list[float], str]]:
    """The comparisons that were asked for: paired differences in points by cell, and what they were to be."""
    small, large = (searched("hypergrad", head, space, budgets()[-1]) for space in SIZES)
    tpe_small, tpe_large = (searched("tpe", head, space, budgets()[-1]) for space in SIZES)
    return {
        "hypergrad - tpe, K = 11": (differences(small, tpe_small), "lower bound above -1"),
        "hypergrad - recipe, K = 11": (differences(small, searched("recipe", head)), "2"),
        "hypergrad - tpe, K = 71": (differences(large, tpe_large), "2"),
        "hypergrad, K = 71 - the better tpe": (differences(large, max(tpe_small, tpe_large, key=mean)), "1"),
        "hypergrad, K = 71 - linear_probe": (over_probe(head), "2"),
        "hypergrad, K = 71 - ft_ood_val": (differences(large, searched("ft_ood_val", None)), "above 0"),
        "ID: hypergrad, K = 71 - wise_ft": (differences(large, searched("wise_ft", None), id_), "at least -1"),
    }


def compared() -> str:
    """Paired differences with intervals and exact sign-flip tests."""
    by_head = [pairs(head) for head in HEADS]
    table = []
    for what, (_, asked) in by_head[0].items():
        values = [of_head[what][0] for of_head in by_head]
        table.append([what, asked, *(t for v in values for t in (with_interval(v, "{:+.1f}"), f"{sign_flip(v):.3f}"))])
    titles = [title for label in HEADS.values() for title in (f"{label} head", "p (sign flips)")]
    return markdown(["OOD test, points", "asked", *titles], table)


def kept_at_a_fifth(head: str, space: str) -> float:
    """The share of its gain over the recipe that hypergrad has after the smallest budget."""
    recipe, (first, *_, last) = searched("recipe", head), budgets()
    early_gain, gain = (fmean(differences(searched("hypergrad", head, space, b), recipe)) for b in (first, last))
    return early_gain / gain


def early() -> str:
    """How much of the gain is there after a fifth of the budget."""
    table = [[label, *(f"{kept_at_a_fifth(head, space):.0%}" for space in SIZES)] for head, label in HEADS.items()]
    return markdown(["head: gain over the recipe kept at a fifth", *(f"K = {k}" for k in SIZES.values())], table)


def ablations() -> str:
    """One thing changed at a time, beside nothing changed."""
    return _changes("hypergrad, K = 71, changed in", changed("steps"), "nothing")


def horizons() -> str:
    """Inner loops of different lengths, each with as many hypergradients."""
    return _changes("inner steps", changed("trials"), "T 20")


def _changes(title: str, by_change: Mapping[str, Cells], plain: str) -> str:
    table = []
    for what, cells in by_change.items():
        each = differences(cells, by_change[plain])
        span = "" if what == plain else f"{fmean(each):+.1f} ({min(each):+.1f} to {max(each):+.1f})"
        accuracies = (f"{mean(cells, value):.1f}" for value in (id_, ood))
        table.append([what, str(len(cells)), *accuracies, span, _spent(cells)])
    return markdown([title, "cells", "ID test", "OOD test", "difference (by cell)", "step equivalents"], table)


def beside_online() -> str:
    """What the recipe's short fine-tune reaches in the same cell."""
    (seed,) = searched("online", "zero_shot", "groups")
    row = searched("recipe", "zero_shot")[seed]
    return f"ID {id_(row):.1f}, OOD {ood(row):.1f}"


def online() -> str:
    """What a steered fine-tune's search has cost."""
    table = []
    for r in searched("online", "zero_shot", "groups").values():
        cost = (f"{r['step_equivalents']:,.0f}", f"{r['share']:.1%}")
        table.append([f"{r['steps']:,}", str(r["trials"]), *cost, f"{id_(r):.1f}", f"{ood(r):.1f}"])
    return markdown(["steps", "windows", "search, step equivalents", "of the fine-tune", "ID test", "OOD test"], table)


def change_in(ablation: str) -> list[float]:
    """What one change does to OOD accuracy, in points by cell."""
    by_change = changed("steps")
    return differences(by_change[ablation], by_change["nothing"])
