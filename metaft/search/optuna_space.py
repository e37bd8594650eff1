"""Spaces in the terms of Optuna, and its distributions in ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metaft.space import Categorical, Dimension, Float, Int, Space


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension in natural units; scales that Optuna does not know, asinh and softplus, are linear there."""
    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def searched(dimension: Dimension) -> BaseDistribution:
    """A dimension as samplers of Optuna's search it: a real one in the unit interval, whatever its scale."""
    return FloatDistribution(0.0, 1.0) if isinstance(dimension, Float) else distribution(dimension)


def value_at(dimension: Dimension, u: float) -> Any:
    """A coordinate in [0, 1] as a value of what is searched."""
    return u if isinstance(dimension, Float) else dimension.from_unit(torch.tensor(u, dtype=torch.float64))


def coordinate(dimension: Dimension, value: Any) -> float:
    """The inverse of `value_at`."""
    return float(value) if isinstance(dimension, Float) else dimension.to_unit(value)


@dataclass(frozen=True)
class Axis:
    """A distribution of Optuna as a dimension: numbers in steps as the number of the step, choices as theirs.

    Args:
        inward: a value of Optuna's to one of the dimension.
        outward: its inverse.
    """

    dimension: Dimension
    inward: Callable[[Any], Any]
    outward: Callable[[Any], Any]


def axis(name: str, of: BaseDistribution) -> Axis:
    """The axis of a distribution with more than one value.

    Raises:
        ValueError: its range is one that no dimension can have.
    """
    if isinstance(of, CategoricalDistribution):
        choices = of.choices
        return Axis(
            Categorical(name, tuple(range(len(choices)))), lambda v: int(of.to_internal_repr(v)), lambda i: choices[i]
        )
    if isinstance(of, FloatDistribution) and of.step is None:
        return Axis(Float(name, of.low, of.high, log=of.log), float, float)
    if isinstance(of, IntDistribution) and of.log:
        return Axis(Int(name, of.low, of.high, log=True), int, int)
    assert isinstance(of, FloatDistribution | IntDistribution), "Optuna has no others"
    low, high, step = of.low, of.high, of.step
    assert step is not None
    return Axis(
        Int(name, 0, round((high - low) / step)),
        lambda v: round((v - low) / step),
        lambda k: min(low + k * step, high),  # of rounding
    )


def space(axes: Mapping[str, Axis]) -> Space:
    """The space of some axes."""
    return Space([axis.dimension for axis in axes.values()])
