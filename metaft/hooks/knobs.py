"""Knobs: a method's own hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaft.errors import SHOWN, Fault, unknown
from metaft.space import Categorical, Dimension, Int


@dataclass(frozen=True)
class Knob:
    """A hyperparameter with its range and its default; None stands for a value chosen on validation data.

    A real knob joins the search space of `search.method`; whole numbers and choices are set, never searched.
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
        range_ = ", ".join(map(str, d.choices)) if isinstance(d, Categorical) else f"{d.low} to {d.high}"
        return range_ if self.default is not None else f"{range_}, or null: chosen on validation data"

    def admits(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if value is None:
            return self.default is None
        if isinstance(self.dimension, Categorical):
            return value in self.dimension.choices
        kinds = (int,) if isinstance(self.dimension, Int) else (int, float)
        number = isinstance(value, kinds) and not isinstance(value, bool)
        return number and bool(self.dimension.low <= value <= self.dimension.high)


def settled(knobs: Sequence[Knob], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every knob's value: the given ones over the defaults."""
    return {knob.name: given.get(knob.name, knob.default) for knob in knobs}


def faults(field: str, knobs: Sequence[Knob], given: Mapping[str, Any]) -> list[Fault]:
    """Faults of values given by name: unknown knobs, and values that a knob does not admit."""
    known = {knob.name: knob for knob in knobs}
    odd = [unknown(f"{field}.{name}", str(name), known) for name in given if name not in known][:SHOWN]
    wrong = [(known[name], v) for name, v in given.items() if name in known and not known[name].admits(v)]
    return odd + [Fault(f"{field}.{knob.name}", repr(v), knob.allowed) for knob, v in wrong]
