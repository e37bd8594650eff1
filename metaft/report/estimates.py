"""Accuracies with their intervals, and what one is above another."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from metaft.report.document import Document
from metaft.report.values import ood_mean, ood_splits

ID = "id_test"


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of two, with the distances down and up to the ends of its 95 % interval."""

    value: float
    down: float
    up: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value - self.down

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self.up

    def above(self, other: Estimate) -> Estimate:
        """The difference, whose distances are the roots of summed squares, as of independent errors.

        Both are of the same images, whose errors go along, so that the true interval is no wider.
        """
        return Estimate(self.value - other.value, hypot(self.down, other.up), hypot(self.up, other.down))


def at(method: Document, split: str = ID) -> Estimate | None:
    """A method's accuracy on a split; None: it has none there."""
    return _estimate(method[split]) if split in method else None


def ood(method: Document) -> Estimate | None:
    """A method's mean accuracy over the OOD tests.

    These are independent samples, so the distances of their mean are the root of the summed squares over k.
    """
    mean = ood_mean(method)
    if mean is None:
        return None
    tests = [_estimate(method[name]) for name in ood_splits(list(method))]
    down, up = (hypot(*side) / len(tests) for side in zip(*((t.down, t.up) for t in tests), strict=True))
    return Estimate(mean, down, up)


def _estimate(score: Document) -> Estimate:
    value, (low, high) = score["accuracy"], score["ci95"]["accuracy"]
    return Estimate(value, max(0.0, value - low), max(0.0, high - value))
