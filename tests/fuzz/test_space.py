"""Spaces: a ValueError when they are made, or every point of the unit cube, and every proposal, inside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from metaft.search.random import Uniform
from metaft.search.sampler import Failed
from metaft.search.tpe import TPE
from metaft.space import SCALES, Categorical, Dimension, Float, Int, Space
from tests.fuzz.cases import fuzzed

EXTREME = (0.0, 1.0, 5e-324, 1e-308, 1e300, -1e300, 1.7976931348623157e308, 1 + 2.3e-16, 1e-7, math.nan, math.inf)
ENDS = st.sampled_from(EXTREME) | st.floats()
WHOLES = st.sampled_from((0, 1, -1, 2**53, 2**53 + 1, -(2**60), 10**400, 1.5, math.nan)) | st.integers(-9, 99)
U = st.sampled_from((0.0, 1.0, 0.5, 1 - 2**-53, 5e-324)) | st.floats(0, 1)
FLOATS = st.tuples(st.just(Float), ENDS, ENDS, st.sampled_from(tuple(SCALES)))
INTS = st.tuples(st.just(Int), WHOLES, WHOLES, st.booleans())
CHOICES = st.tuples(st.just(Categorical), st.lists(st.sampled_from(("a", 1, True, None, 0.5, math.nan)), max_size=4))


def made(kind: type, *parts: Any, name: str = "x") -> Dimension | None:
    """A dimension, or None where there can be none."""
    try:
        if kind is Float:
            return Float(name, parts[0], parts[1], scale=parts[2])
        return Int(name, parts[0], parts[1], log=parts[2]) if kind is Int else Categorical(name, tuple(parts[0]))
    except ValueError:
        return None


def inside(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, Categorical):
        return any(value is choice or value == choice for choice in dimension.choices)
    return bool(dimension.low <= value <= dimension.high)


@fuzzed(st.tuples(FLOATS | INTS | CHOICES, U, ENDS))
def test_points_are_inside(folder: Path, case: tuple[tuple[Any, ...], float, float]) -> None:
    parts, share, value = case
    dimension = made(*parts)
    if dimension is None:
        return
    space = Space([dimension])
    for u in (share, 0.0, 1.0):
        point = space.plain(torch.tensor([u], dtype=torch.float64))
        assert inside(dimension, point["x"]), (dimension, u, point)
        assert 0 <= float(space.to_unit(point)[0]) <= 1
    if isinstance(dimension, Float) and math.isfinite(value):
        assert 0 <= dimension.to_unit(value) <= 1
        u_of = torch.tensor(share, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(dimension.from_unit(u_of), u_of)
        assert slope >= 0


VALUES = st.lists(st.sampled_from((0.0, 1.0, -1e308, 1e308, math.nan, math.inf)) | st.floats(), min_size=1, max_size=5)


@fuzzed(st.tuples(st.lists(FLOATS | INTS | CHOICES, max_size=3), VALUES, st.booleans()))
def test_proposals_are_inside(folder: Path, case: tuple[list[tuple[Any, ...]], list[float], bool]) -> None:
    parts, values, multivariate = case
    dimensions = [d for number, each in enumerate(parts) if (d := made(*each, name=f"x{number}")) is not None]
    if not dimensions:
        return
    space = Space(dimensions)
    for sampler in (TPE(space, startup=1, candidates=4, multivariate=multivariate), Uniform(space)):
        for value in values:
            trial = sampler.ask()
            assert all(inside(d, trial.params[d.name]) for d in dimensions), trial
            sampler.tell(trial.number, Failed("odd") if value == 1.0 else value)
