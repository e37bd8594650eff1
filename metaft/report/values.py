"""Values of metrics in results: which there are, their means over the OOD tests, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import Any

from metaft.metrics import METRICS
from metaft.report.document import BESIDE_METRICS, Document


def splits_of(results: Document) -> list[str]:
    """The names of all splits that a method has a score on."""
    return list(dict.fromkeys(split for method in results["methods"].values() for split in method))


def metrics_of(results: Document) -> list[str]:
    """The names of all metrics that a split has."""
    scores = [score for method in results["methods"].values() for score in method.values()]
    return list(dict.fromkeys(name for score in scores for name in score if name not in BESIDE_METRICS))


def ood_splits(splits: Sequence[str]) -> list[str]:
    """The OOD tests among split names."""
    return [name for name in splits if name.startswith("ood_test/")]


def ood_mean(method: Mapping[str, Any], metric: str = "accuracy") -> float | None:
    """The mean of a metric over a method's OOD tests; None where one of them lacks it, or there are none."""
    values = [method[name].get(metric) for name in ood_splits(list(method))]
    return fmean(values) if values and None not in values else None


def title(metric: str) -> str:
    """What a table calls a metric."""
    return METRICS[metric].title if metric in METRICS else metric


def written(value: float | None, metric: str = "accuracy") -> str:
    """A value in per cent, or in nats; a dash for none."""
    if value is None or isnan(value):
        return "-"
    return f"{value:.3f}" if metric in METRICS and not METRICS[metric].share else f"{100 * value:.1f}"


def with_interval(split: Mapping[str, Any] | None, metric: str) -> str:
    """A metric's value on a split with its 95 % interval, a dash for none."""
    if split is None or metric not in split:
        return "-"
    low, high = split["ci95"][metric]
    return f"{written(split[metric], metric)} [{written(low, metric)}, {written(high, metric)}]"
