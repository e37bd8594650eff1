"""The README's tables of results/cpu/methods.json and ftp_cost.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean, median, stdev
from typing import Any

from common import RESULTS, read
from scipy.stats import t

from metaft.report.tables import markdown

Row = dict[str, Any]


def found(labels: int | None, suite: str) -> dict[str, dict[int, Row]]:
    """By method and seed, of the cells of a suite."""
    by: dict[str, dict[int, Row]] = {}
    for r in read(RESULTS / "cpu" / "methods.json"):
        if not r["tuning"] and r["labels"] == labels and r["suite"].startswith(suite) and "failed" not in r:
            by.setdefault(r["method"], {})[r["seed"]] = r
    return by


def ood(row: Row) -> float:
    """Mean accuracy over the OOD tests, in points."""
    return 100 * fmean(row["ood_test"].values())


def id_(row: Row) -> float:
    """ID test accuracy, in points."""
    return 100 * row["id_test"]


def with_interval(values: Sequence[float], style: str = "{:.1f}") -> str:
    """The mean and half the width of its 95 % t-interval over cells."""
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{style.format(fmean(values))} ± {half:.1f}"


def above(own: dict[int, Row], other: dict[int, Row], value: Callable[[Row], float]) -> str:
    """The paired difference over the cells that both have."""
    pairs = [value(own[s]) - value(other[s]) for s in own if s in other]
    return "" if own is other else with_interval(pairs, "{:+.1f}")


def compared(suite: str) -> str:
    """Every method on one suite: accuracies, paired differences, cost, drift."""
    by = found(None, suite)
    table = [
        [
            method,
            with_interval([id_(r) for r in own.values()]),
            with_interval([ood(r) for r in own.values()]),
            above(own, by["ft"], ood),
            above(own, by["ft_ood_val"], ood),
            f"{fmean(r['step_equivalents'] for r in own.values()):,.0f}",
            f"{median(r['seconds'] for r in own.values()):,.0f}",
            " / ".join(f"{fmean(r['drift']['features'][s] for r in own.values()):.2f}" for s in ("id_val", "ood_val")),
        ]
        for method, own in by.items()
    ]
    cells = len(by["ft"])
    head = [f"{suite}, {cells} cells", "ID test", "OOD test", "OOD - ft", "OOD - ft_ood_val"]
    return markdown([*head, "steps", "s", "feature drift ID / OOD"], table)


def shapes() -> str:
    """Every method on shapes."""
    return compared("shapes")


def digits() -> str:
    """Every method on digits."""
    return compared("digits")


def styles() -> str:
    """Accuracy in each OOD test of shapes."""
    by = found(None, "shapes")
    names = list(next(iter(by["ft"].values()))["ood_test"])
    rows = [
        [m, *(f"{100 * fmean(r['ood_test'][n] for r in own.values()):.1f}" for n in names)] for m, own in by.items()
    ]
    return markdown(["OOD test accuracy, shapes", *names], rows)


LOW_LABEL = ("zero_shot", "ft", "l2_sp", "wise_ft", "ftp", "autoft")


def low_labels() -> str:
    """ID and OOD accuracy with few labelled images a class, OOD with its range, in the cells that have all numbers."""
    table = []
    for suite in ("shapes", "digits"):
        whole = found(None, suite)
        kinds = {labels: by for labels in (10, 50) if (by := found(labels, suite))}
        seeds = set.intersection(*(set(by["ft"]) for by in (whole, *kinds.values())))
        for labels, by in {**kinds, None: whole}.items():
            own = {"zero_shot": whole["zero_shot"], **by}  # which no label changes
            cells = [[own[m][seed] for seed in sorted(seeds)] for m in LOW_LABEL]
            table.append([f"{suite}, {labels or 'all'}", str(len(seeds)), *map(_id_and_ood, cells)])
    return markdown(["images a class", "cells", *LOW_LABEL], table)


def _id_and_ood(rows: Sequence[Row]) -> str:
    outside = [ood(r) for r in rows]
    return f"{fmean(map(id_, rows)):.0f} / {fmean(outside):.0f} ({min(outside):.0f} to {max(outside):.0f})"


def ftp_cost() -> str:
    """A training step, the update alone, and the state of projections beside AdamW."""
    rows = read(RESULTS / "cpu" / "ftp_cost.json")
    return markdown(
        ["ViT-B/16, CPU", "iteration / AdamW", "update alone / AdamW", "state, copies of the parameters"],
        [[r["method"], f"{r['ratio']:.2f}", f"{r['update_ratio']:.2f}", f"{r['copies']:.2f}"] for r in rows],
    )
