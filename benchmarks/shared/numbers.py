"""Numbers of rows, in points where they are accuracies, and how tables write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import t

from shared.rows import Row

Cells = Mapping[int, Row]  # by data seed
Value = Callable[[Row], float]


def id_(row: Row) -> float:
    """ID test accuracy, in points."""
    return 100 * float(row["id_test"])


def ood(row: Row) -> float:
    """Mean accuracy over the OOD tests, in points."""
    return 100 * fmean(row["ood_test"].values())


def recognised(row: Row) -> float:
    """Accuracy on pictures of pretraining (see pretrained.py), in points."""
    return 100 * float(row["pretraining"])


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values of these keys, in the order in which they come."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def by_seed(rows: Iterable[Row]) -> Cells:
    """Rows by data seed."""
    return {row["seed"]: row for row in rows}


def mean(cells: Cells, value: Value = ood) -> float:
    """The mean over cells."""
    return fmean(value(r) for r in cells.values())


def differences(these: Cells, others: Cells, value: Value = ood) -> list[float]:
    """Paired differences over the cells that both have."""
    return [value(these[seed]) - value(others[seed]) for seed in sorted(these) if seed in others]


def sign_flip(values: Sequence[float]) -> float:
    """The p-value of a mean above 0: the share of choices of signs that give a mean at least as high.

    All choices for up to 16 values; 100,000 random ones, always the same, for more.
    """
    if len(values) <= 16:
        signs = np.array(list(product((1, -1), repeat=len(values))))
    else:
        signs = np.random.default_rng(0).choice((1, -1), size=(100_000, len(values)))
    return float(np.mean(signs @ np.array(values) / len(values) >= fmean(values) - 1e-9))


def quartiles(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The lower quartile, the median and the upper quartile, of each column."""
    return np.quantile(values, (0.25, 0.5, 0.75), axis=0)


def spanned(values: Sequence[float], style: str = "{:.1f}") -> str:
    """The mean, and the range where there is one."""
    low, middle, high = (style.format(f(values)) for f in (min, fmean, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def with_interval(values: Sequence[float], style: str = "{:.1f}") -> str:
    """The mean and half the width of its 95 % t-interval; of one value that alone."""
    n, mean = len(values), style.format(fmean(values))
    return mean if n == 1 else f"{mean} ± {t.ppf(0.975, n - 1) * stdev(values) / math.sqrt(n):.1f}"


def with_quartiles(values: Sequence[float]) -> str:
    """The median and the quartiles beside it."""
    low, middle, high = map(short, quartiles(values))
    return f"{middle} ({low} to {high})"


def short(value: float) -> str:
    """Two digits below a hundred, whole numbers above."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def mib(count: float) -> str:
    """Bytes as MiB."""
    return f"{count / 2**20:,.0f}"
