"""Figures from results, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import hypot
from pathlib import Path

from matplotlib.figure import Figure

from metaft.files import replacing
from metaft.report.document import Document
from metaft.report.values import ood_mean, ood_splits

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")
MARKERS = ("o", "s", "^", "D", "v")  # the next one once all colours are taken


def id_against_ood(runs: Sequence[Document], path: Path) -> Path:
    """OOD accuracy (mean over tests) against ID accuracy, a point for each method of each run, with intervals."""
    figure = Figure(figsize=(5.6, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(name for run in runs for name in run["methods"]))
    for name, (marker, colour) in zip(names, product(MARKERS, COLOURS), strict=False):
        points = [_point(run["methods"][name]) for run in runs if name in run["methods"]]
        points = [p for p in points if p is not None]
        if not points:
            continue
        x, y, dx, dy = (list(column) for column in zip(*points, strict=True))
        xerr, yerr = list(zip(*dx, strict=True)), list(zip(*dy, strict=True))
        axes.errorbar(
            x, y, xerr=xerr, yerr=yerr, fmt=marker, color=colour, ecolor=colour + "66", markersize=6, label=name
        )
    axes.set_xlabel("ID test accuracy (%)")
    axes.set_ylabel("OOD test accuracy (%), mean over tests")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.containers:  # without OOD tests there is no point
        figure.legend(loc="outside upper center", ncols=min(3, len(names)), fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        figure.savefig(file, format="png")
    return path


Interval = tuple[float, float]


def _point(method: Document) -> tuple[float, float, Interval, Interval] | None:
    """x, y and the distances down and up of their intervals.

    The tests are independent samples, so the distances of their mean are the root of the summed squares over k.
    """
    y = ood_mean(method)
    if "id_test" not in method or y is None:
        return None
    tests = [_distances(method[name]) for name in ood_splits(list(method))]
    down, up = (100 * hypot(*side) / len(tests) for side in zip(*tests, strict=True))
    low, high = _distances(method["id_test"])
    return 100 * method["id_test"]["accuracy"], 100 * y, (100 * low, 100 * high), (down, up)


def _distances(split: Document) -> Interval:
    """The distances from the accuracy down and up to the ends of its interval."""
    value, (low, high) = split["accuracy"], split["ci95"]["accuracy"]
    return max(0.0, value - low), max(0.0, high - value)
