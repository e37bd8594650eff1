"""What fine-tuning changes in models of several sizes: accuracy out of distribution, and on pictures of pretraining."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from matplotlib.figure import Figure

from shared.figures.curves import DPI
from shared.numbers import ood, recognised
from shared.rows import Row
from shared.tables.model_size import measured, methods_of

PANELS: dict[str, Callable[[Row], float]] = {"OOD tests": ood, "pictures of pretraining": recognised}
COLOURS = {
    **{"linear_probe": "#e0a070", "ft": "#c2571a", "wise_ft": "#5a8f3c", "l2_sp": "#6aa6e0", "ftp": "#1b5fa8"},
    **{"rehearsal": "#8a5fa8", "autoft": "#d0a000"},
}


def draw() -> Figure:
    """A line of panels for each suite: points above zero_shot against the size of the image tower, means over cells."""
    figure = Figure(figsize=(10, 7.4), dpi=DPI, layout="constrained")
    for line, suite in zip(figure.subplots(2, 2), ("shapes", "digits"), strict=True):
        by_model = measured(suite)
        for axes, (title, value) in zip(line, PANELS.items(), strict=True):
            for method in methods_of(by_model)[1:]:
                points = [_point(methods, method, value) for methods in by_model.values() if method in methods]
                name, found, _ = method.partition(",")
                look = {"color": COLOURS[name], "markersize": 5, "linewidth": 1.4}
                axes.plot(*zip(*points, strict=True), "o--" if found else "o-", label=method, **look)
            axes.axhline(0, color="#444444", linewidth=0.8)
            axes.set_xscale("log")
            axes.set_title(f"{suite}: {title}")
            axes.grid(alpha=0.25, linewidth=0.5)
        line[0].set_ylabel("points above zero_shot")
    for axes in line:
        axes.set_xlabel("parameters of the image tower")
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _point(methods: dict[str, Sequence[Row]], method: str, value: Callable[[Row], float]) -> tuple[int, float]:
    rows, begun = methods[method], {r["seed"]: value(r) for r in methods["zero_shot"]}
    return rows[0]["parameters"], fmean(value(r) - begun[r["seed"]] for r in rows)
