"""Draw the medians and quartiles of results/cpu/tpe.json: python benchmarks/tpe_figure.py"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from common import RESULTS, read
from matplotlib.figure import Figure

SAMPLERS = {
    "metaft": "#1b5fa8",
    "optuna": "#c2571a",
    "optuna univariate": "#d9a441",
    "hyperopt": "#5a8f3c",
    "random": "#8a8a8a",
}


def draw() -> Figure:
    """A panel a problem: regret of what was observed to be best, over trials."""
    curves = defaultdict(list)
    for row in read(RESULTS / "cpu" / "tpe.json"):
        if row["regret"]:
            curves[row["problem"], row["sampler"]].append(row["regret"])
    problems = list(dict.fromkeys(problem for problem, _ in curves))
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    for axes, problem in zip(figure.subplots(2, 4).flat, problems, strict=True):
        for sampler, colour in SAMPLERS.items():
            runs = curves[problem, sampler]
            trials = [n for n in map(int, runs[0]) if all(run[str(n)] is not None for run in runs)]
            values = np.array([[run[str(n)] for n in trials] for run in runs])
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
            axes.fill_between(trials, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(trials, middle, color=colour, label=sampler, linewidth=2 if sampler == "metaft" else 1.2)
        axes.set(title=problem, yscale="log", xlim=(0, 200))
        axes.grid(alpha=0.25, which="both", linewidth=0.4)
    figure.supxlabel("trials")
    figure.supylabel("regret")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(SAMPLERS), frameon=False)
    return figure


if __name__ == "__main__":
    draw().savefig(RESULTS / "figures" / "tpe.png", dpi=110)
