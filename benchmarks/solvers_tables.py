"""The README's tables of results/cpu/solvers.json, with the methods of methods.json in the same cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from statistics import fmean, median
from typing import Any

from common import RESULTS, read
from methods_tables import found as methods_found
from methods_tables import id_, ood, with_interval

from metaft.report.tables import markdown

Row = dict[str, Any]
Cells = dict[int, Row]  # by data seed
SIZES = {"standard": 11, "groups": 71}
HEADS = {"zero_shot": "zero-shot", "linear_probe": "probe"}


def rows() -> list[Row]:
    """Every row that gave a result."""
    return [r for r in read(RESULTS / "cpu" / "solvers.json") if "failed" not in r]


def found(solver: str, head: str, space: str | None = None, budget: str | None = None) -> Cells:
    """The rows of one solver by cell; the largest budget where none is named."""
    own = [r for r in rows() if (r["solver"], r["head"], r["space"], r["ablation"]) == (solver, head, space, None)]
    chosen = budget or max((r["budget"] for r in own if r["budget"]), key=_limit, default=None)
    return {r["seed"]: r for r in own if r["budget"] == chosen}


def changed(kind: str) -> dict[str, Cells]:
    """The rows that change one thing, by what is changed, with a budget of a kind: `steps` or `trials`."""
    by: dict[str, Cells] = {}
    for r in rows():
        if r["ablation"] and r["budget"].startswith(kind):
            by.setdefault(r["ablation"], {})[r["seed"]] = r
    return by


def _limit(budget: str) -> float:
    return float(budget.partition(":")[2])


def budgets() -> list[str]:
    """The wall-clock budgets, the smallest first."""
    return sorted({r["budget"] for r in rows() if (r["budget"] or "").startswith("wall:")}, key=_limit)


def differences(own: Cells, other: Cells, value: Callable[[Row], float] = ood) -> list[float]:
    """Paired differences in points, over the cells that both have."""
    return [value(own[seed]) - value(other[seed]) for seed in sorted(own) if seed in other]


def sign_flip(values: list[float]) -> float:
    """The p-value of a mean above 0: the share of all choices of signs that give a mean at least as high."""
    flips = [fmean(s * v for s, v in zip(signs, values, strict=True)) for signs in product((1, -1), repeat=len(values))]
    return sum(f >= fmean(values) - 1e-9 for f in flips) / len(flips)


def solvers() -> str:
    """Every head, solver, space and budget: accuracies after the final fine-tune, and what the search took."""
    table = []
    names = dict.fromkeys(r["solver"] for r in rows() if r["solver"] not in ("recipe", "online"))
    for head, label in HEADS.items():
        recipe = found("recipe", head)
        if recipe:
            table.append([label, "recipe", "", "", _mean(recipe, id_), _mean(recipe), "", "", ""])
        for space, solver, budget in product(SIZES, names, budgets()):
            own = found(solver, head, space, budget)
            if not own:
                continue
            table.append(
                [
                    label,
                    solver,
                    str(SIZES[space]),
                    f"{_limit(budget):.0f}",
                    _mean(own, id_),
                    _mean(own),
                    with_interval(differences(own, recipe), "{:+.1f}"),
                    f"{median(r['trials'] for r in own.values()):.0f}",
                    f"{median(r['step_equivalents'] for r in own.values()):,.0f}",
                ]
            )
    titles = ["head", "solver", "K", "search, s", "ID test", "OOD test", "OOD - recipe", "trials", "step equivalents"]
    return markdown(titles, table)


def _mean(own: Cells, value: Callable[[Row], float] = ood) -> str:
    return with_interval([value(r) for r in own.values()])


def pairs(head: str) -> dict[str, tuple[list[float], str]]:
    """The comparisons that were asked for: paired differences in points by cell, and what they were to be."""
    largest, methods = budgets()[-1], methods_found(None, "shapes")
    small, large = (found("hypergrad", head, space, largest) for space in SIZES)
    tpe_small, tpe_large = (found("tpe", head, space, largest) for space in SIZES)
    better = max((tpe_small, tpe_large), key=lambda own: fmean(ood(r) for r in own.values()))
    by_hand = {m: cells for m, cells in methods.items() if m not in ("autoft", "autoft_wise", "oracle", "ft_ood_val")}
    best = max(by_hand, key=lambda m: fmean(ood(r) for r in by_hand[m].values()))
    return {
        "hypergrad - tpe, K = 11": (differences(small, tpe_small), "lower bound above -1"),
        "hypergrad - recipe, K = 11": (differences(small, found("recipe", head)), "2"),
        "hypergrad - tpe, K = 71": (differences(large, tpe_large), "2"),
        "hypergrad, K = 71 - the better tpe": (differences(large, better), "1"),
        f"hypergrad, K = 71 - {best}, the best method by hand": (differences(large, by_hand[best]), "2"),
        "hypergrad, K = 71 - ft_ood_val": (differences(large, methods["ft_ood_val"]), "above 0"),
        "ID: hypergrad, K = 71 - wise_ft": (differences(large, methods["wise_ft"], id_), "at least -1"),
    }


def compared() -> str:
    """Paired differences with intervals and exact sign-flip tests."""
    by_head = {head: pairs(head) for head in HEADS}
    table = []
    for what, (_, asked) in by_head["zero_shot"].items():
        line = [what, asked]
        for values, _ in (by_head[head][what] for head in HEADS):
            line += [with_interval(values, "{:+.1f}"), f"{sign_flip(values):.3f}"]
        table.append(line)
    titles = [title for label in HEADS.values() for title in (f"{label} head", "p (sign flips)")]
    return markdown(["OOD test, points", "asked", *titles], table)


def kept_at_a_fifth(head: str, space: str) -> float:
    """The share of its own gain over the recipe that hypergrad has after the smallest budget."""
    recipe, (first, *_, last) = found("recipe", head), budgets()
    early_gain, gain = (fmean(differences(found("hypergrad", head, space, b), recipe)) for b in (first, last))
    return early_gain / gain


def early() -> str:
    """What is left of the gain with a fifth of the budget."""
    table = [[label, *(f"{kept_at_a_fifth(head, space):.0%}" for space in SIZES)] for head, label in HEADS.items()]
    return markdown(["head: gain over the recipe kept at a fifth", *(f"K = {k}" for k in SIZES.values())], table)


def ablations() -> str:
    """One thing changed at a time, beside nothing changed."""
    by = changed("steps")
    return _changes("hypergrad, K = 71, changed in", by, by.get("nothing", {}))


def horizons() -> str:
    """Inner loops of different lengths, each with as many hypergradients."""
    by = changed("trials")
    return _changes("inner steps", by, by.get("T 20", {}))


def _changes(title: str, by: Mapping[str, Cells], plain: Cells) -> str:
    table = []
    for what, own in by.items():
        each = differences(own, plain)
        spent = median(r["step_equivalents"] for r in own.values())
        span = f"{fmean(each):+.1f} ({min(each):+.1f} to {max(each):+.1f})"
        values = (f"{fmean(f(r) for r in own.values()):.1f}" for f in (id_, ood))
        table.append([what, str(len(own)), *values, "" if own is plain else span, f"{spent:,.0f}"])
    return markdown([title, "cells", "ID test", "OOD test", "difference (by cell)", "step equivalents"], table)


def online() -> str:
    """What a steered fine-tune's search has cost."""
    table = []
    for r in found("online", "zero_shot", "groups").values():
        cost = (f"{r['step_equivalents']:,.0f}", f"{r['share']:.1%}")
        table.append([f"{r['steps']:,}", str(r["trials"]), *cost, f"{id_(r):.1f}", f"{ood(r):.1f}"])
    return markdown(["steps", "windows", "search, step equivalents", "of the fine-tune", "ID test", "OOD test"], table)
