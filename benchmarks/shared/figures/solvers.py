"""Searches of shapes: what each solver has reached over time and over steps."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.figures.curves import DPI, band
from shared.tables.solvers import HEADS, SIZES, searched

COLOURS = {"hypergrad": "#1b5fa8", "hybrid": "#8a5fa8", "tpe": "#c2571a", "optuna": "#5a8f3c", "random": "#8a8a8a"}
AXES = {"search, s": 0, "search, step equivalents": 1}


def draw() -> Figure:
    """The lowest outer loss so far over time and over steps, median and quartiles over cells, by space and head."""
    figure = Figure(figsize=(16, 7), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(SIZES), len(HEADS) * len(AXES), sharey="row")
    for line, (space, size) in zip(grid, SIZES.items(), strict=True):
        for axes, (head, (label, column)) in zip(line, product(HEADS, AXES.items()), strict=True):
            for solver in COLOURS:
                _curve(axes, [r["curve"] for r in searched(solver, head, space).values()], column, solver)
            axes.set(xlabel=label, xscale="log", title=f"K = {size}, {HEADS[head]} head")
            axes.grid(alpha=0.25, which="both", linewidth=0.4)
    figure.supylabel("lowest outer loss of a trial so far")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    return figure


def _curve(axes: Axes, curves: list[list[list[float]]], column: int, solver: str) -> None:
    if not curves:
        return
    ends = [curve[-1][column] for curve in curves]
    begins = [curve[0][column] for curve in curves]
    at = np.geomspace(max(begins), min(ends), 80)
    values = np.array([[_lowest(curve, column, x) for x in at] for curve in curves])
    band(axes, at, values, COLOURS[solver], solver, bold=solver == "hypergrad")


def _lowest(curve: list[list[Any]], column: int, x: float) -> float:
    return min(float(trial[2]) for trial in curve if trial[column] <= x and trial[2] is not None)
