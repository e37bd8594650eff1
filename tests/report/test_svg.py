"""Scales, marks and places of names, each against its formula."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from metaft.report import svg
from metaft.report.charts import LINE, Bar, Series, bars, heat, lines
from metaft.report.estimates import Estimate
from metaft.report.sections.id_ood import Point, pareto


def test_a_linear_scale_holds_its_values_and_has_round_numbers():
    scale = svg.linear([0.13, 0.92], 100, 500)
    assert (scale.low, scale.high) == (0, pytest.approx(1))
    assert scale(0.0) == 100
    assert scale(1.0) == 500
    assert scale(0.5) == pytest.approx(300)
    assert [text for _, text in scale.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


@pytest.mark.parametrize("values", [[], [2.0], [0.0], [5, 5, 5], [-3e7, 2e8], [1e-9, 2e-9], [math.inf, math.nan, 3.0]])
def test_any_values_have_a_linear_scale(values):
    scale = svg.linear(values, 300, 10)
    assert scale.low < scale.high
    assert 2 <= len(scale.ticks) <= 12
    assert all(10 <= scale(v) <= 300 for v in values if math.isfinite(v))
    places = [scale(v) for v, _ in scale.ticks]
    assert min(a - b for a, b in pairwise(places)) > 15


def test_a_logit_scale_is_linear_in_the_logit():
    scale = svg.logit([0.1, 0.9], 0, 1000)
    middle = scale(0.5)
    assert scale(0.9) - middle == pytest.approx(middle - scale(0.1))
    logit = math.log(0.8 / 0.2)
    assert (scale(0.8) - middle) / (scale(0.9) - middle) == pytest.approx(logit / math.log(9))
    for odd in ([], [0.0, 1.0], [0.5, 0.5], [math.nan], [0.713, 0.714]):
        found = svg.logit(odd, 0, 400)
        assert 0 < found.low < found.high < 1
        assert len(found.ticks) >= 2
        assert all(0 <= found(v) <= 400 for v in (0.0, 0.5, 1.0))


def test_a_logarithmic_scale():
    scale = svg.logarithmic([0.002, 30.0, -1.0, math.inf], 0, 500)
    assert (scale.low, scale.high) == (1e-3, 100.0)
    assert scale(0.1) == pytest.approx(200)
    assert [text for _, text in scale.ticks] == ["0.001", "0.01", "0.1", "1", "10", "100"]


def test_places_keep_apart_and_in_order():
    rng = random.Random(0)
    for n in (1, 2, 7, 20):
        wanted = [rng.uniform(0, 300) for _ in range(n)]
        places = svg.spread(wanted, 15, 0, 300)
        order = sorted(range(n), key=lambda i: wanted[i])
        gaps = [places[b] - places[a] for a, b in pairwise(order)]
        assert all(gap >= 15 - 1e-9 for gap in gaps)
        assert min(places) >= -1e-9
        assert max(places) <= 300 + 1e-9
    assert svg.spread([10.0, 100.0], 15, 0, 300) == [10.0, 100.0], "what has room stays where it is"


def test_words_in_a_figure_are_escaped_and_it_is_xml():
    parts = [svg.text(1, 2, "a<b>&", "end"), *(svg.mark(5, 5, kind, "c1", '"<x>"') for kind in svg.MARKS)]
    drawn = str(svg.figure(50, [*parts, svg.box(0, 0, -1, 2, "c1", "told", 3.0)], "t<i>t</i>le", "what & why"))
    tree = ElementTree.fromstring(drawn)
    assert tree.find(".//text").text == "a<b>&"
    assert tree.find(".//desc").text == "what & why"
    assert [e.text for e in tree.findall(".//path/title")] == ['"<x>"'] * len(svg.MARKS)
    assert tree.find(".//rect").get("width") == "0"
    assert tree.find(".//rect").get("fill-opacity") == "1.00"


def test_the_front_is_what_none_is_better_than():
    rng = random.Random(1)
    points = [Point(str(i), *(Estimate(rng.random(), 0, 0) for _ in "xy"), "c1") for i in range(40)]

    def beaten(p):
        better = ((q.x.value >= p.x.value, q.y.value >= p.y.value) for q in points if q is not p)
        return any(x and y for x, y in better)

    assert pareto(points) == sorted((p for p in points if not beaten(p)), key=lambda p: p.x.value)


def test_bars_begin_at_zero_and_end_at_their_values():
    drawn = ElementTree.fromstring(str(bars([Bar("a", 2, 1, 3, "a: 2"), Bar("b", -4, -4, -4, "b")], "t", "w", "x")))
    a, b = drawn.findall(".//rect")
    left, width = float(a.get("x")), float(a.get("width"))
    assert float(b.get("x")) + float(b.get("width")) == pytest.approx(left, abs=0.1)
    assert float(b.get("width")) == pytest.approx(2 * width, abs=0.2)
    whisker = [p for p in drawn.findall(".//polyline") if "ink" in p.get("class")]
    assert len(whisker) == 1


def test_lines_and_maps_tell_every_point():
    series = [Series(f"s{i}", [(0, 0.1 * i, f"s{i} at 0"), (1, 0.5, f"s{i} at 1")]) for i in range(9)]
    tree = ElementTree.fromstring(str(lines(series, "t", "w", "x", "y", shares=True)))
    assert {e.text for e in tree.findall(".//path/title")} == {f"s{i} at {x}" for i in range(9) for x in (0, 1)}
    cells = [[(0.0, "none"), (1.0, "all")], [(0.5, "half"), (2.0, "more")]]
    tree = ElementTree.fromstring(str(heat(["a", "b"], ["1", "2"], cells, "t", "w")))
    assert [(e.get("fill-opacity"), e[0].text) for e in tree.findall(".//rect")] == [
        ("0.00", "none"),
        ("1.00", "all"),
        ("0.50", "half"),
        ("1.00", "more"),
    ]


def test_names_that_are_too_long_for_their_columns_stand_upright():
    names = ["block.0.attn", "head"]
    cells = [[(0.0, ""), (1.0, "")]]
    drawn = ElementTree.fromstring(str(heat(["a"], names, cells, "t", "w")))
    turned = [e for e in drawn.findall(".//text") if e.get("transform", "").startswith("rotate(-90")]
    assert [e.text for e in turned] == names
    assert not ElementTree.fromstring(str(heat(["a"], ["1", "2"], cells, "t", "w"))).findall(".//text[@transform]")
    many = [f"trial {i}" for i in range(200)]
    drawn = ElementTree.fromstring(str(heat(["a"], many, [[(0.0, "")] * 200], "t", "w")))
    places = sorted(float(e.get("x")) for e in drawn.findall(".//text[@transform]"))
    assert min(b - a for a, b in pairwise(places)) >= LINE
