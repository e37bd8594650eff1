"""Knobs: a method's own hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaft.errors import Fault, unknown
from metaft.space import Categorical, Dimension, Int


@dataclass(frozen=True)
class Knob:
    """A hyperparameter with its range and its default.

    A real knob joins the search space of `search.method`; a whole number or a choice shapes the method and does not.
    """

    dimension: Dimension
    default: Any

    @property
    def name(self) -> str:
        """The dimension's name."""
        return self.dimension.name

    @property
    def allowed(self) -> str:
        """The values it may have, in words."""
        d = self.dimension
        return ", ".join(map(str, d.choices)) if isinstance(d, Categorical) else f"{d.low} to {d.high}"

    def admits(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if isinstance(self.dimension, Categorical):
            return value in self.dimension.choices
        kinds = (int,) if isinstance(self.dimension, Int) else (int, float)
        number = isinstance(value, kinds) and not isinstance(value, bool)
        return number and bool(self.dimension.low <= value <= self.dimension.high)


def settled(knobs: Sequence[Knob], own: Mapping[str, Any]) -> dict[str, Any]:
    """Every knob's value: the given ones over the defaults."""
    return {k.name: own.get(k.name, k.default) for k in knobs}


def faults(field: str, knobs: Sequence[Knob], own: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with values given by name."""
    known = {k.name: k for k in knobs}
    found = [unknown(f"{field}.{name}", str(name), known) for name in own if name not in known]
    wrong = [(known[n], v) for n, v in own.items() if n in known and not known[n].admits(v)]
    return found + [Fault(f"{field}.{k.name}", repr(v), k.allowed) for k, v in wrong]
