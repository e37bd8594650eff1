"""Samplers on black-box problems: medians and quartiles over seeds."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from shared.figures.curves import DPI, band
from shared.numbers import grouped
from shared.rows import committed

SAMPLERS = {
    "metaft": "#1b5fa8",
    "optuna": "#c2571a",
    "optuna univariate": "#d9a441",
    "hyperopt": "#5a8f3c",
    "random": "#8a8a8a",
}


def draw() -> Figure:
    """A panel a problem: regret of what was observed to be best, over trials."""
    searches = grouped((r for r in committed("tpe") if r["regret"]), "problem", "sampler")
    problems = list(dict.fromkeys(problem for problem, _ in searches))
    figure = Figure(figsize=(12, 5.6), dpi=DPI, layout="constrained")
    for axes, problem in zip(figure.subplots(2, 4).flat, problems, strict=True):
        for sampler, colour in SAMPLERS.items():
            runs = [r["regret"] for r in searches[problem, sampler]]
            trials = [n for n in map(int, runs[0]) if all(run[str(n)] is not None for run in runs)]
            values = np.array([[run[str(n)] for n in trials] for run in runs])
            band(axes, trials, values, colour, sampler, bold=sampler == "metaft")
        axes.set(title=problem, yscale="log", xlim=(0, 200))
        axes.grid(alpha=0.25, which="both", linewidth=0.4)
    figure.supxlabel("trials")
    figure.supylabel("regret")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(SAMPLERS), frameon=False)
    return figure
