"""The space: inverse maps, gradients, ends, and clear errors."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from torch.autograd import gradcheck

from metaft.space import Categorical, Float, Int, Space

FLOATS = [
    Float("a", -2.0, 3.0),
    Float("b", 1e-7, 1e-3, log=True),
    Float("c", 0.0, 10.0, scale="softplus"),
    Float("d", 0.5, 10.0, scale="softplus"),
    Float("e", 0.0, 10.0, scale="asinh"),
]
KIND = Categorical("k", ("a", "b"))


@pytest.mark.parametrize("dimension", FLOATS, ids=lambda d: d.name)
def test_float_maps_are_inverse_and_reach_the_ends(dimension):
    us = torch.linspace(0, 1, 101, dtype=torch.float64)
    values = [float(dimension.from_unit(u)) for u in us]
    assert values == sorted(values)
    assert values[0] == pytest.approx(dimension.low, abs=1e-15)
    assert values[-1] == pytest.approx(dimension.high)
    assert [dimension.to_unit(v) for v in values] == pytest.approx(us.tolist(), abs=1e-9)


@pytest.mark.parametrize("dimension", FLOATS, ids=lambda d: d.name)
def test_gradients_flow(dimension):
    u = torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    assert gradcheck(dimension.from_unit, (u,))
    (slope,) = torch.autograd.grad(dimension.from_unit(u).sum(), u)
    assert (slope > 0).all()


def test_scales_are_what_they_say():
    assert float(FLOATS[1].from_unit(torch.tensor(0.5).double())) == pytest.approx(1e-5)
    assert float(FLOATS[2].from_unit(torch.tensor(0.0).double())) == 0.0
    knee, before = (float(FLOATS[2].from_unit(torch.tensor(u).double())) for u in (0.4, 0.3))
    assert knee / before == pytest.approx(math.exp(12 * 0.1), rel=0.2)  # exponential below the knee
    below, above = (float(FLOATS[4].from_unit(torch.tensor(u).double())) for u in (0.9, 1.0))
    assert above / below == pytest.approx(2000**0.1, rel=0.01)  # asinh(1 / a) is about log(2 / a)
    u = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(FLOATS[4].from_unit(u), u)
    assert float(slope) == pytest.approx(0.01 * math.asinh(1000)), "0 has a gradient"


def test_values_outside_land_on_the_edge():
    assert FLOATS[1].to_unit(1.0) == 1.0
    assert FLOATS[1].to_unit(0.0) == 0.0
    assert Int("i", 1, 4).to_unit(9) == 7 / 8


@pytest.mark.parametrize("dimension", [Int("i", -1, 3), Int("j", 1, 64, log=True)], ids=lambda d: d.name)
def test_ints_have_shares(dimension):
    for value in range(dimension.low, dimension.high + 1):
        assert dimension.from_unit(torch.tensor(dimension.to_unit(value))) == value
    assert dimension.from_unit(torch.tensor(0.0)) == dimension.low
    assert dimension.from_unit(torch.tensor(1.0)) == dimension.high


def test_categories_have_equal_shares():
    dimension = Categorical("c", ("adam", "sgd", "lion"))
    drawn = [dimension.from_unit(torch.tensor((i + 0.5) / 300)) for i in range(300)]
    assert {c: drawn.count(c) for c in dimension.choices} == {"adam": 100, "sgd": 100, "lion": 100}
    assert dimension.to_unit("sgd") == pytest.approx(0.5)


def test_a_space_goes_there_and_back():
    space = Space([*FLOATS, Int("i", 1, 8), Categorical("k", ("x", "y"))])
    u = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.7, 0.5625, 0.75], dtype=torch.float64, requires_grad=True)
    natural = space.from_unit(u)
    assert (natural["i"], natural["k"]) == (5, "y")
    torch.testing.assert_close(space.to_unit(space.plain(u)), u.detach())
    (slope,) = torch.autograd.grad(natural["a"] + natural["b"], u)
    assert (slope != 0).tolist() == [True, True, False, False, False, False, False]


def test_conditions_decide_what_is_there():
    space = Space(
        [
            KIND,
            Int("n", 1, 3, when=("k", ("b",))),
            Float("x", 0.0, 1.0, when=("n", (2, 3))),
            Float("y", 0.0, 1.0),
        ]
    )
    assert space.plain(torch.tensor([0.25, 0.5, 0.3, 0.5])) == {"k": "a", "y": 0.5}
    assert space.plain(torch.tensor([0.75, 0.1, 0.3, 0.5])) == {"k": "b", "n": 1, "y": 0.5}
    whole = {"k": "b", "n": 2, "x": 0.25, "y": 0.5}
    assert space.plain(torch.tensor([0.75, 0.5, 0.25, 0.5])) == whole
    assert space.to_unit(whole).tolist() == [0.75, 0.5, 0.25, 0.5]
    assert space.to_unit({"k": "a", "y": 0.5}).isnan().tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match=r"missing or unknown \['x'\]"):
        space.to_unit({"k": "b", "n": 1, "x": 0.5, "y": 0.5})


@pytest.mark.parametrize("dimension", [Int("i", -1, 3), Int("j", 1, 64, log=True), Categorical("c", "abc")])
def test_edges_bound_the_shares(dimension):
    edges = dimension.edges()
    assert (edges[0], edges[-1]) == (0, pytest.approx(1))
    for low, high in pairwise(edges):
        points = torch.tensor([low + share * (high - low) for share in (1e-6, 0.5, 1 - 1e-6)], dtype=torch.float64)
        inside = [dimension.from_unit(u) for u in points]
        assert len(set(inside)) == 1
        assert dimension.to_unit(inside[0]) == pytest.approx((low + high) / 2)


def test_spaces_are_described_in_json():
    space = Space([*FLOATS, KIND, Int("n", 1, 3, when=("k", ("b",)))])
    described = space.described()
    assert json.loads(json.dumps(described)) == described
    assert [d["name"] for d in described] == list(space.names)
    assert Space([*FLOATS, KIND, Int("n", 1, 4, when=("k", ("b",)))]).described() != described


@pytest.mark.parametrize(
    "make",
    [
        lambda: Float("x", 1.0, 1.0),
        lambda: Float("x", 0.0, 1.0, log=True),
        lambda: Float("x", 0.0, math.inf),
        lambda: Float("x", -1e301, 1.0),
        lambda: Float("x", 0, 10**400),
        lambda: Float("x", math.nan, 1.0),
        lambda: Int("x", 0, 2**53 + 1),
        lambda: Int("x", 0.5, 3),
        lambda: Int("x", 1, 10**400, log=True),
        lambda: Float("x", 0.0, 1.0, scale="cubic"),
        lambda: Int("x", 3, 2),
        lambda: Int("x", 0, 2, log=True),
        lambda: Int("x", 3, 3),
        lambda: Categorical("x", ()),
        lambda: Categorical("x", ("only",)),
        lambda: Categorical("x", ("a", "b", "a")),
        lambda: Categorical("x", ((1, 2), (3, 4))),
        lambda: Categorical("x", ("a", "b")).to_unit("c"),
        lambda: FLOATS[0].to_unit(math.nan),
        lambda: Space([Float("x", 0, 1, when=("k", ("a",))), KIND]),
        lambda: Space([KIND, Float("x", 0, 1, when=("k", ("c",)))]),
        lambda: Space([KIND, Float("x", 0, 1, when=("k", ()))]),
        lambda: Space([Float("y", 0, 1), Float("x", 0, 1, when=("y", (0.5,)))]),
        lambda: Space([Int("y", 0, 10_000), Float("x", 0, 1, when=("y", (5,)))]),
        lambda: Float("x", "0", "1"),
        lambda: Float("x", 0.0, None),
        lambda: Float("x", 0.1, 1.0, log=True, scale="softplus"),
        lambda: Float("x", 0.1, 1.0, scale=["log"]),
        lambda: FLOATS[0].to_unit("0.5"),
        lambda: FLOATS[0].to_unit(None),
        lambda: Int("x", 1, 4).to_unit(2.7),
        lambda: Int("x", 1, 4).to_unit(math.nan),
        lambda: Int("x", 1, 4).to_unit(math.inf),
        lambda: Int("x", 1, 4).to_unit("3"),
        lambda: Categorical("x", (math.nan, 1.0)),
        lambda: Categorical("x", (1.0, -math.inf)),
        lambda: Space(["x"]),
        lambda: Space([Float(None, 0.0, 1.0)]),
        lambda: Space([KIND, Float("x", 0, 1, when="k")]),
        lambda: Space([KIND, Float("x", 0, 1, when=("k",))]),
        lambda: Space([KIND, Float("x", 0, 1, when=("k", "a"))]),
        lambda: Space([Int("n", 1, 3), Float("x", 0, 1, when=("n", 2))]),
        lambda: Space(FLOATS).to_unit([0.5] * len(FLOATS)),
        lambda: Space([]),
        lambda: Space([FLOATS[0], FLOATS[0]]),
        lambda: Space(FLOATS).from_unit(torch.zeros(2)),
        lambda: Space(FLOATS).to_unit({"a": 1.0}),
    ],
)
def test_what_makes_no_space(make):
    with pytest.raises(ValueError, match="allowed"):
        make()


WIDE = [("log", 5e-324, 1e300), ("log", 1e-300, 1e300), ("log", 1.0, 1 + 2**-52), ("log", 2 - 2**-51, 2 - 2**-52)]
WIDE += [(scale, -1e300, 1e300) for scale in ("linear", "softplus", "asinh")] + [("asinh", 0.0, 5e-324)]


@pytest.mark.parametrize(("scale", "low", "high"), WIDE)
def test_points_of_any_range_are_inside(scale, low, high):
    dimension = Float("x", low, high, scale=scale)
    us = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    points = dimension.from_unit(us)
    values = points.tolist()
    assert low <= min(values) <= max(values) <= high
    assert [values[0], values[-1]] == pytest.approx([low, high], rel=1e-9)
    assert [dimension.to_unit(low), dimension.to_unit(high)] == pytest.approx([0, 1], abs=1e-9)
    (slope,) = torch.autograd.grad(points.sum(), us)
    assert (slope >= 0).all()


def test_the_middle_of_a_range_whose_ratio_is_beyond_numbers():
    assert float(Float("x", 1e-300, 1e300, log=True).from_unit(torch.tensor(0.5).double())) == pytest.approx(1.0)
    assert Float("x", 1e-300, 1e300, log=True).to_unit(1.0) == pytest.approx(0.5)
