"""Accuracies with their intervals, and what one is above another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from metaft.evaluation.bootstrap import TAILS, gains
from metaft.measures import Floats, Ints, unpacked
from metaft.report.document import Document
from metaft.report.values import ood_splits

ID = "id_test"
DRAWS = 4000  # of the bootstrap of a difference


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

        Where both are of the same images, whose errors go along, the true interval is narrower: see `difference`.
        """
        return Estimate(self.value - other.value, hypot(self.down, other.up), hypot(self.up, other.down))


def at(method: Document, split: str = ID) -> Estimate | None:
    """A method's accuracy on a split; None: it has none there."""
    return _estimate(method[split]) if split in method else None


def ood(method: Document) -> Estimate | None:
    """A method's mean accuracy over the OOD tests; None: there are none."""
    tests = [_estimate(method[name]) for name in ood_splits(list(method))]
    return _mean(tests) if tests else None


def difference(method: Document, other: Document, splits: Sequence[str]) -> Estimate | None:
    """What a method's mean accuracy over some splits is above another's on the same images; None: one has none there.

    The interval is of the bootstrap over pairs (see `metaft.evaluation.bootstrap.gains`), each split drawn on its own.
    Results of before do not say which images are right: there the errors are taken as independent, which is too wide.
    """
    if not splits or any(split not in scores for split in splits for scores in (method, other)):
        return None
    pairs = [(method[split], other[split]) for split in splits]
    mine, theirs = (_mean([_estimate(score) for score in scores]) for scores in zip(*pairs, strict=True))
    drawn = [_drawn(*pair, seed) for seed, pair in enumerate(pairs)]
    known = [draws for draws in drawn if draws is not None]
    if len(known) < len(drawn):
        return mine.above(theirs)
    value, (low, high) = mine.value - theirs.value, np.percentile(np.mean(known, axis=0), TAILS).tolist()
    return Estimate(value, max(0.0, value - low), max(0.0, high - value))


def _drawn(score: Document, other: Document, seed: int) -> Floats | None:
    """Draws of the difference of two accuracies on the same images; None: it is not known which are right."""
    units, others = _units(score), _units(other)
    if units is None or others is None or not np.array_equal(units[0], others[0]):
        return None
    return gains(units[0], units[1] - others[1], DRAWS, [seed])


def _units(score: Document) -> tuple[Ints, Ints] | None:
    """By image, or by group where intervals draw groups: how many images it has, and how many of them are right."""
    if not score.get("right"):
        return None
    right, n = unpacked(score["right"], score["n"]), score["n"]
    sizes = np.array(score.get("sizes") or [1] * n, np.int64)
    return sizes, np.add.reduceat(right, np.cumsum(sizes) - sizes)


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates of independent samples: its distances are the root of the summed squares over k."""
    value = sum(e.value for e in estimates) / len(estimates)
    down, up = (hypot(*side) / len(estimates) for side in zip(*((e.down, e.up) for e in estimates), strict=True))
    return Estimate(value, down, up)


def _estimate(score: Document) -> Estimate:
    value, (low, high) = score["accuracy"], score["ci95"]["accuracy"]
    return Estimate(value, max(0.0, value - low), max(0.0, high - value))
