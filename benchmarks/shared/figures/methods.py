"""Every method as a point on logit axes: OOD accuracy against ID accuracy, and against what is left of pretraining."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from shared.figures.curves import DPI
from shared.numbers import Cells, Value, grouped, recognised
from shared.rows import Row
from shared.tables.methods import fitted
from shared.tuning import RATED

TICKS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
KINDS = {
    "#444444": ("zero_shot", "oracle"),
    "#c2571a": ("ft", RATED, "ft_ood_val", "dfr", "linear_probe", "linear_probe_ood_val", "lp_ft", "best_by_ood_val"),
    "#1b5fa8": (
        "l1_sp",
        "l2_sp",
        "kd",
        "lwf_features",
        "car_ft",
        "lipsum_ft",
        "rehearsal",
        "spd",
        "ftp",
        "tpgm",
        "digrap",
    ),
    "#5a8f3c": ("wise_ft", "wise_ft_groups", "wise_probe", "fisher_merge", "dawin", "ema", "soup", "model_stock"),
    "#8a5fa8": ("lora", "r_adapter", "prompt", "flyp", "carot"),
    "#b0307a": ("bitfit", "freeze_embed", "layer_decay", "surgical", "sift", "saft", "diff_pruning"),
    "#2a8a8a": ("mixout", "gmixout"),
    "#d0a000": ("autoft", "autoft_end", "autoft_wise"),
}
COLOURS = {method: colour for colour, methods in KINDS.items() for method in methods}
_NEAR = [sign * step for step in range(0, 160, 4) for sign in (1, -1)]


def logit(p: float) -> float:
    """log p / (1 - p), on which accuracies under shift lie near a line (Miller et al., ICML 2021)."""
    return math.log(p / (1 - p))


def draw() -> Figure:
    """ID against OOD accuracy, and the way of WiSE-FT."""
    return _drawn("ID test accuracy", lambda r: float(r["id_test"]), curve=True)


def forgetting() -> Figure:
    """What is left of the first task against OOD accuracy."""
    return _drawn("accuracy on pictures of pretraining", lambda r: recognised(r) / 100)


def _drawn(name: str, x_of: Value, *, curve: bool = False) -> Figure:
    """A panel a suite: a point for each method, means over cells."""
    figure = Figure(figsize=(10, 14), dpi=DPI, layout="constrained")
    panels: dict[Axes, dict[str, tuple[float, float]]] = {}
    for axes, suite in zip(figure.subplots(2, 1), ("shapes", "digits"), strict=True):
        methods = fitted(suite)
        points = {method: _mean(cells.values(), x_of) for method, cells in methods.items()}
        for method, (x, y) in points.items():
            axes.plot(x, y, "o" if method != "oracle" else "^", color=COLOURS[method], markersize=6)
        if curve:
            _curve(axes, methods["wise_ft"], x_of)
        _scale(axes, list(points.values()))
        axes.set_title(suite)
        panels[axes] = points
    figure.supxlabel(f"{name} (%, logit scale)")
    figure.supylabel("OOD test accuracy (%, logit scale, mean over tests)")
    figure.draw_without_rendering()  # so that places on the page are known
    for axes, points in panels.items():
        _label(axes, points)
    return figure


def _label(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """A name beside each point, on the spot nearest to it where it hides no point and no other name."""
    to_page = axes.transData.transform
    page = axes.get_window_extent()
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in to_page(list(points.values()))]
    for method, point in sorted(points.items(), key=lambda item: -item[1][1]):
        x, y = to_page(point)
        wide, high = 7.0 * len(method), 12.0
        spots = [(dx - wide * left, dy) for dy in _NEAR for dx, left in ((8, 0), (-8, 1), (0, 0.5))]
        boxes = [(x + dx, y + dy - high / 2, x + dx + wide, y + dy + high / 2) for dx, dy in spots]
        inside = [i for i, box in enumerate(boxes) if page.x0 < box[0] and box[2] < page.x1]
        free = [i for i in inside if not any(_overlap(boxes[i], other) for other in taken)]
        best = min(free or range(len(boxes)), key=lambda i: abs(spots[i][1]) + 0.05 * abs(spots[i][0]))
        taken.append(boxes[best])
        dx, dy = spots[best]
        line = {"arrowstyle": "-", "color": COLOURS[method], "linewidth": 0.5} if abs(dy) > high else None
        axes.annotate(
            *(method, point, (dx + wide / 2, dy)),
            **{"textcoords": "offset pixels", "fontsize": 8, "color": COLOURS[method]},
            **{"ha": "center", "va": "center", "arrowprops": line},
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _mean(rows: Collection[Row], x_of: Value) -> tuple[float, float]:
    """Logits of the mean accuracies."""
    return logit(fmean(map(x_of, rows))), logit(fmean(fmean(r["ood_test"].values()) for r in rows))


def _curve(axes: Axes, wise_ft: Cells, x_of: Value) -> None:
    by_alpha = grouped((point for r in wise_ft.values() for point in r["curve"]), "alpha")
    x, y = zip(*(_mean(points, x_of) for _, points in sorted(by_alpha.items())), strict=True)
    axes.plot(x, y, "-", color="#5a8f3c", linewidth=1, alpha=0.7, zorder=0)


def _scale(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Ticks at round accuracies, labelled in per cent."""
    for axis, values in zip((axes.xaxis, axes.yaxis), zip(*points, strict=True), strict=True):
        low, high = min(values) - 0.4, max(values) + 0.4
        axis.set_view_interval(low, high, ignore=True)
        axis.set_ticks([logit(t) for t in TICKS if low < logit(t) < high])
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 / (1 + math.exp(-v)):.0f}"))
        axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25, linewidth=0.5)
