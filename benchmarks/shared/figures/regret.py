"""How far every method is below the best of each world."""

from __future__ import annotations

from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from shared.figures.curves import DPI
from shared.tables.regret import regrets

CUT = 25.0  # points, from where on all is as dark


def draw() -> Figure:
    """A line for each method, the least regret on average on top, a column for each world; points."""
    lost = regrets()
    names, worlds = list(lost), list(next(iter(lost.values())))
    values = np.array([[*lost[name].values(), fmean(lost[name].values())] for name in names])
    figure = Figure(figsize=(9.5, 0.24 * len(names) + 1.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="YlOrBr", vmin=0, vmax=CUT, aspect="auto")
    for (line, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.6 * CUT else "black"
        axes.text(column, line, f"{value:.1f}", ha="center", va="center", fontsize=7, color=colour)
    axes.axvline(len(worlds) - 0.5, color="white", linewidth=3)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xticks(range(len(worlds) + 1), [*worlds, "mean"], fontsize=8, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.suptitle("points of OOD test accuracy below the best method of a world", fontsize=10)
    return figure
