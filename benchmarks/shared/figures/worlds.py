"""OOD accuracy of every method in every world, a line for each, and what was handed back."""

from __future__ import annotations

from matplotlib.figure import Figure

from shared.figures.curves import DPI
from shared.numbers import mean, ood
from shared.tables.worlds import cells_of, plain_methods, solvers
from shared.worlds import WORLDS

COLOURS = {
    **{"zero_shot": "#444444", "wise_ft": "#5a8f3c", "ft": "#c2571a", "dfr": "#e0a070"},
    **{"linear_probe": "#1b5fa8", "linear_probe_ood_val": "#6aa6e0", "wise_probe": "#8a5fa8", "ft_ood_val": "#8c3010"},
}
MARKERS = {"hypergrad": "D", "tpe": "s"}


def draw() -> Figure:
    """A dot for each plain method's mean over seeds; what each solver handed back as its mean and, small, its seeds."""
    figure = Figure(figsize=(10, 0.5 * len(WORLDS) + 1.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for line, world in enumerate(WORLDS):
        axes.axhline(line, color="#dddddd", linewidth=1, zorder=0)
        for name, cells in plain_methods("worlds", world=world.name).items():
            axes.plot(mean(cells), line, "o", color=COLOURS[name], markersize=7, alpha=0.85, label=name)
        for offset, solver in zip((-0.22, 0.22), solvers(), strict=False):
            kept = cells_of("worlds", "handed_back", solver, world=world.name)
            if not kept:
                continue
            look = {"color": "#d0a000", "marker": MARKERS[solver], "linestyle": "none"}
            axes.plot([ood(r) for r in kept.values()], [line + offset] * len(kept), markersize=3, alpha=0.7, **look)
            label = f"handed back, {solver}"
            axes.plot(mean(kept), line + offset, markersize=8, markeredgecolor="black", label=label, **look)
    axes.set_yticks(range(len(WORLDS)), [world.name for world in WORLDS])
    axes.invert_yaxis()
    axes.set_xlabel("OOD test accuracy (%, mean over tests)")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each label once
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure
