"""What a classifier comes to on the images of a split, as results.json has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from metaft.report.document import BESIDE_METRICS


@dataclass(frozen=True)
class Score:
    """A classifier's score on n images: each metric (see `metaft.metrics`), and its 95 % bootstrap interval.

    Args:
        metrics: shares in [0, 1], nll in nats.
        groups: how many groups the intervals draw whole; 0: they draw images.
        by_domain: the score of each domain, where images are of two or more.
        calibration, confusion: see `metaft.evaluation.mistakes`; none within a domain.
        right: which images are right, a bit each (see `metaft.measures.packed`), in the order of the split or, where
            there are groups, group after group; empty within a domain.
        sizes: the images of each group, where there are groups.
    """

    metrics: Mapping[str, float]
    n: int
    ci95: Mapping[str, tuple[float, float]]
    groups: int = 0
    by_domain: Mapping[str, Score] = field(default_factory=dict)
    calibration: Sequence[tuple[int, float, float]] = ()
    confusion: Sequence[tuple[int, int, int]] = ()
    right: str = ""
    sizes: Sequence[int] = ()

    def to_dict(self) -> dict[str, Any]:
        """The score in the form of results.json, what is beside its metrics only where there is any."""
        raw = {**self.metrics, "n": self.n, "ci95": {name: list(ends) for name, ends in self.ci95.items()}}
        raw |= {"groups": self.groups} if self.groups else {}
        raw |= {"calibration": [list(b) for b in self.calibration]} if self.calibration else {}
        raw |= {"confusion": [list(cell) for cell in self.confusion]} if self.confusion else {}
        raw |= {"right": self.right} if self.right else {}
        raw |= {"sizes": list(self.sizes)} if self.sizes else {}
        by_domain = {domain: score.to_dict() for domain, score in self.by_domain.items()}
        return raw | ({"by_domain": by_domain} if by_domain else {})

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Score:
        """The inverse of `to_dict`; null is a number that was not finite."""
        metrics = {name: _number(raw[name]) for name in raw if name not in BESIDE_METRICS}
        intervals = {name: (_number(low), _number(high)) for name, (low, high) in raw["ci95"].items()}
        by_domain = {domain: cls.from_dict(score) for domain, score in raw.get("by_domain", {}).items()}
        calibration, confusion = (tuple(map(tuple, raw.get(name, ()))) for name in ("calibration", "confusion"))
        images = (raw.get("right", ""), tuple(raw.get("sizes", ())))
        return cls(metrics, raw["n"], intervals, raw.get("groups", 0), by_domain, calibration, confusion, *images)


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
