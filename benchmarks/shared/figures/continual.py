"""Accuracy on the first of five styles, and on pictures of pretraining, as a model is fine-tuned on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from matplotlib.figure import Figure

from shared.figures.curves import DPI
from shared.numbers import recognised
from shared.rows import Row
from shared.tables.continual import sequences

COLOURS = {
    **{"ft": "#c2571a", "ftp": "#1b5fa8", "l2_sp": "#5a8fd0", "kd": "#8a5fa8", "autoft": "#d0a000"},
    **{"wise_ft": "#999999", "ft_ood_val": "#e39a6f"},
    **{"rehearsal, 5 %": "#a8cf95", "rehearsal, 10 %": "#5a8f3c", "rehearsal, 20 %": "#2f5a1c"},
}
PANELS: dict[str, Callable[[Row, Row], float]] = {
    "the first style": lambda first, row: 100 * row["accuracy"][first["style"]],
    "pictures of pretraining": lambda first, row: recognised(row),
}


def draw() -> Figure:
    """A panel for each of two tests: the mean over seeds after so many styles, a line for each method."""
    figure = Figure(figsize=(11, 4.6), dpi=DPI, layout="constrained")
    for axes, (title, value) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for method, of_method in sequences().items():
            means = [fmean(points) for points in zip(*(_along(s, value) for s in of_method), strict=True)]
            numbers = range(1, len(means) + 1)
            axes.plot(numbers, means, "o-", color=COLOURS[method], label=method, markersize=4, linewidth=1.4)
        axes.set_title(title)
        axes.set_xticks(list(numbers))
        axes.grid(alpha=0.25, linewidth=0.5)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.supxlabel("styles trained on")
    figure.supylabel("accuracy, %")
    return figure


def _along(sequence: Sequence[Row], value: Callable[[Row, Row], float]) -> list[float]:
    return [value(sequence[0], row) for row in sequence]
