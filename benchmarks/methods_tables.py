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


def low_labels() -> str:
    """ID and OOD accuracy with few labelled images a class."""
    table = []
    for suite in ("shapes", "digits"):
        for labels in (10, 50, None):
            by = found(labels, suite)
            if not by:
                continue
            methods = [m for m in ("zero_shot", "ft", "l2_sp", "wise_ft", "ftp", "autoft") if m in by]
            if "zero_shot" not in by:
                by["zero_shot"] = found(None, suite)["zero_shot"]
                methods.insert(0, "zero_shot")
            row = [f"{suite}, {labels or 'all'}", str(len(by["ft"]))]
            for m in methods:
                own = [r for s, r in by[m].items() if s in by["ft"]]
                row.append(f"{fmean(map(id_, own)):.0f} / {with_interval([ood(r) for r in own])}")
            table.append(row)
    return markdown(["images a class", "cells", "zero_shot", "ft", "l2_sp", "wise_ft", "ftp", "autoft"], table)


def ftp_cost() -> str:
    """A training step, the update alone, and the state of projections beside AdamW."""
    rows = read(RESULTS / "cpu" / "ftp_cost.json")
    return markdown(
        ["ViT-B/16, CPU", "iteration / AdamW", "update alone / AdamW", "state, copies of the parameters"],
        [[r["method"], f"{r['ratio']:.2f}", f"{r['update_ratio']:.2f}", f"{r['copies']:.2f}"] for r in rows],
    )
