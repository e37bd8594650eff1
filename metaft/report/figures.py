"""Figures from results, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil
from pathlib import Path

from matplotlib.figure import Figure

from metaft.files import replacing
from metaft.report.document import Document
from metaft.report.estimates import Estimate, at, ood

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")  # the next one once all colours are taken
COLUMNS = 3  # of the legend
ROWS = 4  # of the legend that the figure has room for
ROW = 0.18  # inches that each further one takes


def id_against_ood(runs: Sequence[Document], path: Path) -> Path:
    """OOD accuracy (mean over tests) against ID accuracy, a point for each method of each run, with intervals."""
    names = list(dict.fromkeys(name for run in runs for name in run["methods"]))
    higher = ROW * max(0, ceil(len(names) / COLUMNS) - ROWS)
    figure = Figure(figsize=(5.6, 4.6 + higher), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, (marker, colour) in zip(names, product(MARKERS, COLOURS), strict=False):
        pairs = [(at(run["methods"][name]), ood(run["methods"][name])) for run in runs if name in run["methods"]]
        points = [(x, y) for x, y in pairs if x is not None and y is not None]
        if not points:
            continue
        xs, ys = ([p[i] for p in points] for i in (0, 1))
        axes.errorbar(
            [100 * x.value for x in xs],
            [100 * y.value for y in ys],
            xerr=_distances(xs),
            yerr=_distances(ys),
            fmt=marker,
            color=colour,
            ecolor=colour + "66",
            markersize=6,
            label=name,
        )
    axes.set_xlabel("ID test accuracy (%)")
    axes.set_ylabel("OOD test accuracy (%), mean over tests")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.containers:  # without OOD tests there is no point
        figure.legend(loc="outside upper center", ncols=min(COLUMNS, len(names)), fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        figure.savefig(file, format="png")
    return path


def _distances(estimates: Sequence[Estimate]) -> list[list[float]]:
    return [[100 * e.down for e in estimates], [100 * e.up for e in estimates]]
