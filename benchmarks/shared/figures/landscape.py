"""Slope over derivative along the hypergradient, by the length of the step."""

from __future__ import annotations

from statistics import median

from matplotlib.figure import Figure

from shared.figures.curves import DPI
from shared.tables.landscape import ratios

COLOURS = {"1": "#c2571a", "1/3": "#1b5fa8", "1/10": "#5a8f3c"}
SHOWN = (-1.0, 2.0)


def draw() -> Figure:
    """A panel for each T, a line for each learning rate: the median over seeds, with the least and the most."""
    found = ratios()
    lengths = sorted({length for length, _ in found})
    figure = Figure(figsize=(3.4 * len(lengths), 3.2), dpi=DPI, layout="constrained")
    for axes, length in zip(figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0], lengths, strict=True):
        axes.axhline(1.0, color="#dddddd", linewidth=1, zorder=0)
        for rate, colour in COLOURS.items():
            by_step = sorted(found.get((length, rate), {}).items())
            steps = [step for step, _ in by_step]
            axes.plot(steps, [median(v) for _, v in by_step], "o-", color=colour, markersize=4, label=f"lr x {rate}")
            low, high = ([f(v) for _, v in by_step] for f in (min, max))
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xscale="log", title=f"T = {length}", xlabel="step in the unit cube", ylim=SHOWN)
    figure.axes[0].set_ylabel("slope / derivative")
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure
