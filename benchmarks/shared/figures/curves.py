"""Curves of several runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from shared.numbers import quartiles

DPI = 110


def band(axes: Axes, at: Sequence[float], runs: np.ndarray, colour: str, label: str, *, bold: bool) -> None:
    """The median of runs [N, len(at)] over `at`, and their quartiles as a band."""
    low, middle, high = quartiles(runs)
    axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(at, middle, color=colour, label=label, linewidth=2 if bold else 1.2)
