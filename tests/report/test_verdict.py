"""What a run comes to, in words and by hand."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, sqrt

import numpy as np
import pytest

from metaft.measures import packed
from metaft.report.estimates import Estimate, at, difference, ood
from metaft.report.sections import overview, warnings
from metaft.report.verdict import gain, gains, helped, points
from metaft.report.verdict import warnings as found
from tests.report.runs import BARE, DOCUMENT, OTHER, RICH, record

AUTOFT, FT = DOCUMENT["methods"]["autoft"], DOCUMENT["methods"]["ft"]


def of(**changed):
    return replace(RICH, results={**DOCUMENT, **changed})


def test_estimates_are_means_and_roots_of_squares():
    assert at(FT) == Estimate(0.8, pytest.approx(0.03), pytest.approx(0.04))
    mean = ood(FT)
    assert mean.value == pytest.approx((0.4 + 0.35) / 2)
    assert mean.down == pytest.approx(sqrt(2 * 0.03**2) / 2)
    difference = ood(AUTOFT).above(mean)
    assert difference.value == pytest.approx(0.22)
    assert difference.down == pytest.approx(hypot(ood(AUTOFT).down, mean.up))
    assert at({}) is None
    assert ood({"id_test": FT["id_test"]}) is None


def told(right, sizes=()):
    value = float(np.mean(right))
    ends = {"accuracy": [value - 0.1, value + 0.1]}
    known = {"accuracy": value, "n": len(right), "ci95": ends, "right": packed(np.array(right, float))}
    return {**known, "sizes": list(sizes)} if sizes else known


def test_a_difference_on_the_same_images_is_paired():
    """By McNemar's variance, where the normal law is near: 200 images, of which 30 and 10 are told apart."""
    one, other = [1] * 130 + [0] * 70, [1] * 100 + [0] * 30 + [1] * 10 + [0] * 60
    found = difference({"id_test": told(one)}, {"id_test": told(other)}, ["id_test"])
    half = 1.96 * sqrt(30 + 10 - 20**2 / 200) / 200
    assert found.value == pytest.approx(0.1)
    assert (found.down, found.up) == (pytest.approx(half, abs=0.005), pytest.approx(half, abs=0.005))
    assert found.up < hypot(0.1, 0.1), "narrower than of independent errors"
    same = difference({"id_test": told(one)}, {"id_test": told(one)}, ["id_test"])
    assert (same.value, same.down, same.up) == (0, 0, 0)


def test_a_difference_over_tests_and_groups():
    """Of k tests the mean has the root of the summed squares over k; ten copies of an image tell no more than one."""
    one, other = [1] * 60 + [0] * 40, [1] * 45 + [0] * 55
    scores = {f"ood_test/{name}": told(one) for name in "abcd"}, {f"ood_test/{name}": told(other) for name in "abcd"}
    whole, single = difference(*scores, list(scores[0])), difference(*scores, ["ood_test/a"])
    assert whole.down + whole.up == pytest.approx((single.down + single.up) / 2, rel=0.08)
    copies = [{"id_test": told(np.repeat(right, 10), [10] * 100)} for right in (one, other)]
    grouped = difference(*copies, ["id_test"])
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high), abs=0.011)


def test_where_images_are_not_known_errors_are_independent():
    bare = {k: v for k, v in told([1, 0]).items() if k != "right"}
    wide = at({"id_test": bare}).above(at({"id_test": bare}))
    assert difference({"id_test": bare}, {"id_test": told([1, 0])}, ["id_test"]) == wide
    groups = told([1, 0, 1, 1], [2, 2])
    assert difference({"id_test": groups}, {"id_test": told([1, 0, 1, 1])}, ["id_test"]).up > 0.1, "of other units"
    assert difference({"id_test": bare}, {}, ["id_test"]) is None
    assert difference({}, {}, []) is None


def test_gains_over_what_is_there():
    assert [g.over for g in gains(RICH)] == ["ft", "zero_shot"]
    assert gain(RICH, "autoft") is None, "over itself"
    assert gains(BARE) == []
    kept = {**DOCUMENT["handed_back"], "method": "ft"}
    assert [g.over for g in gains(of(handed_back=kept))] == ["zero_shot"]


@pytest.mark.parametrize(
    ("value", "down", "up", "verdict"),
    [(0.1, 0.05, 0.2, True), (-0.1, 0.2, 0.05, False), (0.1, 0.2, 0.2, None), (0.0, 0.0, 0.0, None)],
)
def test_it_helped_where_the_interval_says_so(value, down, up, verdict):
    assert helped(Estimate(value, down, up)) is verdict
    assert helped(None) is None


def test_the_headline():
    text = overview.headline(RICH)
    assert text.startswith("autoft is handed back: 59.5 % [57.4, 62.3] out of distribution, 78.0 % [75.0, 82.0] in dis")
    assert "Against plain fine-tuning that is +22.0 [+18.5, +25.5] points out of distribution, and −2.0" in text
    assert points(None) == "-"
    assert overview.headline(BARE) == "No model is handed back: see which methods gave no result."


def test_four_questions_are_answered():
    text = overview.body([RICH])
    for question in ("Did it help?", "By how much?", "May I trust it?", "What now?"):
        assert question in text
    assert ">Yes</span> against plain fine-tuning" in text
    assert "80 labelled OOD images chose" in text
    assert ">No</span>" in overview.body([of(methods={**DOCUMENT["methods"], "ft": AUTOFT, "autoft": FT})])
    same = overview.body([of(methods={**DOCUMENT["methods"], "ft": AUTOFT})])
    assert ">Not for sure</span>" in same
    assert "--seeds 0 1 2" in same


def test_of_several_runs_the_best_is_named():
    worse = replace(OTHER, results={**OTHER.results, "methods": {**DOCUMENT["methods"], "autoft": FT}})
    text = overview.body([worse, RICH])
    assert "the model that runs/rich hands back has the highest accuracy" in text
    assert text.count("<tr") == 3


def test_warnings_are_told_first_and_in_words():
    said = found(RICH)
    assert said[0] == "lora gave no result: diverged in step 3"
    assert "ood_val has 80 images" in said[1]
    near = "The choice is within noise: on ood_val autoft has 62.5 % and wise_ft 61.0 %, with a standard error of 5.4"
    assert near in said[2]
    assert said[3].startswith("1 of 6 trials came to nothing (1 diverged); many of them")
    assert "1 of 1 hypergradients that were checked are off" in said[4]
    assert "2 domains of the tests" in said[5]
    assert len(said) == 6
    many = found(replace(RICH, warned=[f"skipped: {i}.png" for i in range(20)]))
    assert many[6:8] == ["skipped: 0.png", "skipped: 1.png"]
    assert many[-1] == "8 more are in warnings.txt"
    assert found(replace(RICH, odd=("metrics.jsonl is left out: why",)))[0] == "metrics.jsonl is left out: why"
    assert "runs/other &amp; more: lora gave" in warnings.body([RICH, OTHER])
    assert "runs/rich: lora gave no result" in warnings.body([RICH, OTHER])


def test_where_nothing_is_wrong_nothing_is_said():
    methods = {name: {"id_test": {**m["id_test"], "by_domain": {}}} for name, m in DOCUMENT["methods"].items()}
    data = {"ood_val": {"n": 1000}}
    calm = replace(
        of(failed={}, methods=methods, ood_val={"autoft": 0.8, "ft": 0.5}, provenance={"data": data}),
        records=[record("trial", 0, 1.0, None)],
    )
    assert found(calm) == []
    assert warnings.body([calm]) == ""
    assert "Nothing speaks against it" in overview.body([calm])


def test_the_same_model_under_two_names_is_no_doubt():
    methods = {**DOCUMENT["methods"], "wise_ft": AUTOFT}
    said = found(of(methods=methods, ood_val={"autoft": 0.625, "wise_ft": 0.625}))
    assert not any("within noise" in text for text in said)
