"""Every fine-tuning method, in all cells and with few labels, and what projection costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from scipy.stats import spearmanr

from metaft.finetune.method import always
from metaft.finetune.methods import BEST, CEILING, LEARNED, METHODS, PLAIN
from metaft.report.tables import markdown
from shared.numbers import Cells, by_seed, differences, grouped, id_, mean, ood, recognised, with_interval
from shared.rows import Row, committed
from shared.tuning import RATE, RATED

LOW_LABEL = ("zero_shot", "ft", "l2_sp", "wise_ft", "ftp", "autoft")


def fitted(suite: str, labels: int | None = None) -> dict[str, Cells]:
    """The cells of a suite by method; of those with so many images a class."""
    rows = [
        r
        for r in committed("methods")
        if not r["tuning"] and r["labels"] == labels and r["suite"].startswith(suite) and "failed" not in r
    ]
    return {m: by_seed(of_method) for (m,), of_method in sorted(grouped(rows, "method").items(), key=_place)}


def _place(found: tuple[tuple[str], Sequence[Row]]) -> int:
    """Where a method stands in tables: as it is registered, and `ft` at another rate after `ft`."""
    (method,), order = found[0], list(METHODS)
    order.insert(order.index(PLAIN) + 1, RATED)
    return order.index(method)


def count() -> int:
    """The number of methods in the tables."""
    return len(set(fitted("shapes")) & set(METHODS))


def rates() -> str:
    """The learning rates of those that have them tuned, over plain fine-tuning's, on shapes and on digits."""
    knobs = ({m: next(iter(cells.values()))["knobs"] for m, cells in fitted(s).items()} for s in ("shapes", "digits"))
    shapes, digits = ({m: k[RATE.name] for m, k in of.items() if k.get(RATE.name)} for of in knobs)
    return ", ".join(f"`{m}` {shapes[m]:.2g} and {digits[m]:.2g}" for m in shapes if m in digits)


def compared(suite: str) -> str:
    """Every method on one suite: accuracies, what is left of pretraining, paired differences, cost, drift."""
    methods = fitted(suite)
    table = []
    for method, cells in methods.items():
        rows = list(cells.values())
        beside = (_above(cells, methods[other]) if method != other else "" for other in ("ft", "ft_ood_val"))
        cost = (f"{fmean(r['step_equivalents'] for r in rows):,.0f}", f"{median(r['seconds'] for r in rows):,.0f}")
        drift = (fmean(r["drift"]["features"][split] for r in rows) for split in ("id_val", "ood_val"))
        accuracies = (with_interval([value(r) for r in rows]) for value in (id_, ood, recognised))
        table.append([method, *accuracies, *beside, *cost, " / ".join(f"{d:.2f}" for d in drift)])
    title = f"{suite}, {len(methods['ft'])} cells"
    head = [title, "ID test", "OOD test", "pretraining", "OOD - ft", "OOD - ft_ood_val"]
    return markdown([*head, "steps", "s", "feature drift ID / OOD"], table)


def _above(cells: Cells, others: Cells) -> str:
    return with_interval(differences(cells, others), "{:+.1f}")


def styles() -> str:
    """Accuracy in each OOD test of shapes."""
    methods = fitted("shapes")
    tests = list(next(iter(methods["ft"].values()))["ood_test"])
    table = []
    for method, cells in methods.items():
        means = (100 * fmean(r["ood_test"][test] for r in cells.values()) for test in tests)
        table.append([method, *(f"{points:.1f}" for points in means)])
    return markdown(["OOD test accuracy, shapes", *tests], table)


def low_labels() -> str:
    """ID and OOD accuracy with few labelled images a class, OOD with its range, in the cells that have all numbers."""
    table = []
    for suite in ("shapes", "digits"):
        by_labels = {labels: methods for labels in (5, 10, 50, None) if (methods := fitted(suite, labels))}
        seeds = sorted(set.intersection(*(set(methods["ft"]) for methods in by_labels.values())))
        zero_shot = by_labels[None]["zero_shot"]  # which no label changes
        for labels, methods in by_labels.items():
            cells = ({"zero_shot": zero_shot, **methods}[method] for method in LOW_LABEL)
            accuracies = (_id_and_ood([of_method[seed] for seed in seeds]) for of_method in cells)
            table.append([f"{suite}, {labels or 'all'}", str(len(seeds)), *accuracies])
    return markdown(["images a class", "cells", *LOW_LABEL], table)


def _id_and_ood(rows: Sequence[Row]) -> str:
    outside = [ood(r) for r in rows]
    return f"{fmean(map(id_, rows)):.0f} / {fmean(outside):.0f} ({min(outside):.0f} to {max(outside):.0f})"


def by_hand(suite: str) -> dict[str, Cells]:
    """The methods that neither search nor train on OOD images, nor pick one that does."""
    learned = (*LEARNED, BEST, CEILING, *(name for name, method in METHODS.items() if method.fits_ood_val is always))
    return {method: cells for method, cells in fitted(suite).items() if method not in learned}


def best_by_hand() -> str:
    """The one of them with the highest OOD accuracy on shapes."""
    methods = by_hand("shapes")
    return max(methods, key=lambda method: mean(methods[method]))


def kept_together(suite: str) -> str:
    """Spearman's rank correlation, over methods by hand, of what is left of pretraining and OOD accuracy."""
    methods = by_hand(suite).values()
    found = spearmanr([mean(cells, recognised) for cells in methods], [mean(cells) for cells in methods])
    return f"{found.statistic:.2f}"


def ftp_cost() -> str:
    """A training step, the update alone, and the state of projections beside AdamW."""
    return markdown(
        ["ViT-B/16, CPU", "iteration / AdamW", "update alone / AdamW", "state, copies of the parameters"],
        [
            [r["method"], *(f"{r[what]:.2f}" for what in ("ratio", "update_ratio", "copies"))]
            for r in committed("ftp_cost")
        ],
    )
