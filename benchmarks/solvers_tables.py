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


def rows() -> list[Row]:
    """Every row that gave a result."""
    return [r for r in read(RESULTS / "cpu" / "solvers.json") if "failed" not in r]


def found(solver: str, space: str | None = None, budget: str | None = None, ablation: str | None = None) -> Cells:
    """The rows of one solver by cell; the largest budget where none is named."""
    own = [r for r in rows() if (r["solver"], r["space"], r["ablation"]) == (solver, space, ablation)]
    chosen = budget or max((r["budget"] for r in own if r["budget"]), key=_limit, default=None)
    return {r["seed"]: r for r in own if r["budget"] == chosen}


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
    """Every solver, space and budget: accuracies after the final fine-tune, and what the search took."""
    recipe = found("recipe")
    table = [["recipe", "", "", with_interval([id_(r) for r in recipe.values()]), _mean(recipe), "", "", ""]]
    names = dict.fromkeys(r["solver"] for r in rows() if r["solver"] != "recipe")
    for space, solver, budget in product(SIZES, names, budgets()):
        own = found(solver, space, budget)
        if own:
            table.append(
                [
                    solver,
                    str(SIZES[space]),
                    f"{_limit(budget):.0f}",
                    with_interval([id_(r) for r in own.values()]),
                    _mean(own),
                    with_interval(differences(own, recipe), "{:+.1f}"),
                    f"{median(r['trials'] for r in own.values()):.0f}",
                    f"{median(r['step_equivalents'] for r in own.values()):,.0f}",
                ]
            )
    head = ["solver", "K", "search, s", "ID test", "OOD test", "OOD - recipe", "trials", "step equivalents"]
    return markdown(head, table)


def _mean(own: Cells) -> str:
    return with_interval([ood(r) for r in own.values()])


def pairs() -> dict[str, tuple[list[float], str]]:
    """The comparisons that were asked for: paired differences in points by cell, and what they were to be."""
    largest, methods = budgets()[-1], methods_found(None, "shapes")
    small, large = (found("hypergrad", space, largest) for space in SIZES)
    tpe_small, tpe_large = (found("tpe", space, largest) for space in SIZES)
    better = max((tpe_small, tpe_large), key=lambda own: fmean(ood(r) for r in own.values()))
    by_hand = {m: cells for m, cells in methods.items() if m not in ("autoft", "autoft_wise", "oracle", "ft_ood_val")}
    best = max(by_hand, key=lambda m: fmean(ood(r) for r in by_hand[m].values()))
    return {
        "hypergrad - tpe, K = 11": (differences(small, tpe_small), "lower bound above -1"),
        "hypergrad - recipe, K = 11": (differences(small, found("recipe")), "2"),
        "hypergrad - tpe, K = 71": (differences(large, tpe_large), "2"),
        "hypergrad, K = 71 - the better tpe": (differences(large, better), "1"),
        f"hypergrad, K = 71 - {best}, the best method by hand": (differences(large, by_hand[best]), "2"),
        "hypergrad, K = 71 - ft_ood_val": (differences(large, methods["ft_ood_val"]), "above 0"),
        "ID: hypergrad, K = 71 - wise_ft": (differences(large, methods["wise_ft"], id_), "at least -1"),
    }


def compared() -> str:
    """Paired differences with intervals and exact sign-flip tests."""
    table = [
        [what, str(len(values)), with_interval(values, "{:+.1f}"), f"{sign_flip(values):.3f}", asked]
        for what, (values, asked) in pairs().items()
    ]
    return markdown(["OOD test, points", "cells", "mean, 95 %", "p (sign flips)", "asked"], table)


def kept_at_a_fifth() -> Mapping[str, float]:
    """The share of its own gain over the recipe that hypergrad has after the smallest budget, by space."""
    recipe, (first, *_, last) = found("recipe"), budgets()
    return {
        space: fmean(differences(found("hypergrad", space, first), recipe))
        / fmean(differences(found("hypergrad", space, last), recipe))
        for space in SIZES
    }


def early() -> str:
    """What is left of the gain with a fifth of the budget."""
    table = [[str(SIZES[space]), f"{share:.0%}"] for space, share in kept_at_a_fifth().items()]
    return markdown(["K", "hypergrad's gain over the recipe kept at a fifth of the budget (asked: 80 %)"], table)
