"""What a run comes to, in words and by hand."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, sqrt

import pytest

from metaft.report.estimates import Estimate, at, ood
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
