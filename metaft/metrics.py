"""Metrics by name: pure functions of logits, labels and groups; and how surely one model is better than another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaft.lazy import Lazy

if TYPE_CHECKING:  # names and units are read where nothing heavy is loaded
    from torch import Tensor

    from metaft.measures import Floats, Predictions

SURE = 2.0  # standard errors beyond which a difference is no chance
ID_PRICE = 2.0  # points out of distribution that each point surely missing in distribution has to bring
# The nats that a share of accuracy is worth: along the ways of fine-tunes in 27 cells of tuning worlds, calibrated, 2.3
# to 2.5 in the median.
CE_SLOPE = 2.5
# The labels of which accuracy tells as much as the loss does: a gain in accuracy has a variance of about 1 / 4 a label,
# and what the loss says of it is off by about 5 points: 0.25 / n = 0.05^2.
LOSS_LABELS = 100
ROUNDING = 1e-9  # of accuracies that are compared
BY_SET = "auto"  # no metric: what papers report of the data set by its name, or else accuracy


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of right predictions, from logits [N, C] and labels [N]."""
    return float((logits.argmax(dim=1) == labels).double().mean())


@dataclass(frozen=True)
class Gap:
    """The mean of a difference over N images, with its standard error sd(d) / sqrt(N)."""

    mean: float
    error: float

    @classmethod
    def of(cls, d: Tensor) -> Gap:
        """The gap of the differences d, float64 [N]."""
        return cls(float(d.mean()), float(d.std(correction=min(1, len(d) - 1))) / len(d) ** 0.5)

    @classmethod
    def between(cls, best: Tensor, other: Tensor) -> Gap:
        """How far accuracy is below another's: d_i = best right on image i - other right on it, [N] each."""
        return cls.of(best.double() - other.double())

    def beyond(self, limit: float) -> float:
        """What is surely missing: max(0, mean - `SURE` errors - limit)."""
        return max(0.0, self.mean - SURE * self.error - limit)


@dataclass(frozen=True)
class Metric:
    """A metric.

    Args:
        title: what tables call it.
        weighted: its value, from predictions and how often each of their images counts, w [N] >= 0 (see
            `metaft.measures`).
        higher_is_better: whether it is.
        share: whether it is a share in [0, 1], shown in per cent; otherwise it is in nats.
        by_group: whether it tells more than accuracy only where there are groups.
        sought_by: the outer loss (see `metaft.search.registry`) of a search for models that are good by it, over
            domains the worst where it is `by_group`; None: it chooses no model, as a calibration error that is 0 for
            some useless ones.
    """

    title: str
    weighted: Callable[[Predictions, Floats], float]
    higher_is_better: bool = True
    share: bool = True
    by_group: bool = False
    sought_by: str | None = None

    def __call__(self, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> float:
        """The value from logits [N, C], labels [N] and the number of each image's group [N], -1 where it is in none."""
        from metaft.measures import Predictions, once

        return self.weighted(Predictions.of(logits, labels, groups), once(len(labels)))

    @property
    def unit(self) -> float:
        """How much of it is worth a share of accuracy: 1, or in nats what accuracy is worth there, `CE_SLOPE`."""
        return 1.0 if self.share else CE_SLOPE

    def score(self, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> float:
        """The value, or minus it where lower is better: by which models are compared."""
        value = self(logits, labels, groups)
        return value if self.higher_is_better else -value


def _measure(name: str) -> Callable[[Predictions, Floats], float]:
    return Lazy(f"metaft.measures:{name}")


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", _measure("accuracy"), sought_by="ce_calibrated"),
    "macro_f1": Metric("macro F1", _measure("macro_f1"), sought_by="macro_f1"),
    "mean_per_class": Metric("mean per class", _measure("mean_per_class"), sought_by="mean_per_class"),
    "worst_group": Metric("worst group", _measure("worst_group"), by_group=True, sought_by="error"),
    "ece": Metric("ECE", _measure("ece"), higher_is_better=False),
    "adaptive_ece": Metric("adaptive ECE", _measure("adaptive_ece"), higher_is_better=False),
    "nll": Metric("NLL", _measure("nll"), higher_is_better=False, share=False, sought_by="ce"),
}
