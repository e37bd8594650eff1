"""Draw ID against OOD accuracy of results/cpu/methods.json on logit axes: python benchmarks/methods_figure.py"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from common import RESULTS, read
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

TICKS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
KINDS = {
    "#444444": ("zero_shot", "oracle"),
    "#c2571a": ("ft", "ft_ood_val", "dfr", "linear_probe", "lp_ft"),
    "#1b5fa8": ("l1_sp", "l2_sp", "kd", "spd", "ftp", "tpgm"),
    "#5a8f3c": ("wise_ft", "ema", "soup"),
    "#8a5fa8": ("lora", "flyp"),
    "#d0a000": ("autoft", "autoft_wise"),
}


def logit(p: float) -> float:
    """log p / (1 - p), on which accuracies under shift lie near a line (Miller et al., ICML 2021)."""
    return math.log(p / (1 - p))


def draw() -> Figure:
    """A panel a suite: a point for each method, means over cells, and the way of WiSE-FT between two of them."""
    rows = [r for r in read(RESULTS / "cpu" / "methods.json") if not r["tuning"] and r["labels"] is None]
    suites = ("shapes", "digits")
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    for axes, suite in zip(figure.subplots(1, 2), suites, strict=True):
        own = [r for r in rows if r["suite"].startswith(suite) and "failed" not in r]
        points = {m: _mean([r for r in own if r["method"] == m]) for m in dict.fromkeys(r["method"] for r in own)}
        for colour, methods in KINDS.items():
            for method in methods:
                if method in points:
                    x, y = points[method]
                    axes.plot(x, y, "o" if method != "oracle" else "^", color=colour, markersize=6)
                    axes.annotate(method, (x, y), (4, 4), textcoords="offset points", fontsize=8, color=colour)
        _curve(axes, [r["curve"] for r in own if r["method"] == "wise_ft"])
        _scale(axes, list(points.values()))
        axes.set_title(suite)
    figure.supxlabel("ID test accuracy (%, logit scale)")
    figure.supylabel("OOD test accuracy (%, logit scale, mean over tests)")
    return figure


def _mean(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Logits of the mean accuracies."""
    return logit(fmean(r["id_test"] for r in rows)), logit(fmean(fmean(r["ood_test"].values()) for r in rows))


def _curve(axes: Axes, curves: Sequence[Sequence[dict[str, Any]]]) -> None:
    by_alpha = defaultdict(list)
    for curve in curves:
        for point in curve:
            by_alpha[point["alpha"]].append(point)
    x, y = zip(*(_mean(points) for _, points in sorted(by_alpha.items())), strict=True)
    axes.plot(x, y, "-", color="#5a8f3c", linewidth=1, alpha=0.7, zorder=0)


def _scale(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Ticks at round accuracies, labelled in per cent."""
    for axis, values in zip((axes.xaxis, axes.yaxis), zip(*points, strict=True), strict=True):
        low, high = min(values) - 0.25, max(values) + 0.35
        axis.set_view_interval(low, high, ignore=True)
        axis.set_ticks([logit(t) for t in TICKS if low < logit(t) < high])
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 / (1 + math.exp(-v)):.0f}"))
        axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25, linewidth=0.5)


if __name__ == "__main__":
    draw().savefig(RESULTS / "figures" / "methods.png", dpi=110)
