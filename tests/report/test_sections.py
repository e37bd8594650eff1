"""Each section draws what the run says, and leaves itself out where the run says nothing."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from math import inf, sqrt
from statistics import fmean, stdev
from xml.etree import ElementTree

import pytest
from scipy.stats import spearmanr

from metaft.report.page import EACH, TOGETHER
from metaft.report.sections import (
    costs,
    drift,
    examples,
    history,
    id_ood,
    methods,
    mistakes,
    objective,
    parts,
    provenance,
    sensitivities,
    trajectories,
)
from metaft.search.lines import Record
from metaft.space import Float
from tests.report.runs import BARE, CLASSES, DOCUMENT, METHODS, OTHER, RECORDS, RICH, SPACE, outcome


def of(**changed):
    return replace(RICH, results={**DOCUMENT, **changed})


def told(drawn) -> list[str]:
    """What marks, bars and fields tell."""
    return [e.text for e in ElementTree.fromstring(f"<all>{drawn}</all>").iter("title")]


@pytest.mark.parametrize("name", [name for name, _ in (*TOGETHER[1:], *EACH[:-1])])
def test_where_nothing_is_known_there_is_no_section(name):
    """But for the last: a run has a seed."""
    bare = dict(TOGETHER)[name]([BARE]) if name in dict(TOGETHER) else dict(EACH)[name](BARE)
    assert "figure" not in bare
    assert "<td" not in bare


def test_every_method_is_a_mark_with_both_accuracies():
    drawn = told(id_ood.body([RICH]))
    for name, (inside, outside) in METHODS.items():
        (mark,) = (text for text in drawn if text.startswith(f"{name}\n"))
        assert f"ID {100 * inside:.1f} % [" in mark
        assert f"OOD {100 * outside - 2.5:.1f} % [" in mark
    assert sum(text.startswith("wise_ft: alpha") for text in drawn) == 11
    several = told(id_ood.body([RICH, OTHER]))
    assert sum(text.startswith("ft, ") for text in several) == 2


def test_the_whole_way_of_wise_ft_is_a_line_through_its_shares():
    drawn = id_ood.body([RICH])
    marks = [text for text in told(drawn) if text.startswith("wise_ft, alpha ")]
    assert marks[4] == "wise_ft, alpha 0.4\nID 62.0 %\nOOD 47.4 %"
    lines = [e.get("points") for e in ElementTree.fromstring(f"<all>{drawn}</all>").iter("polyline")]
    (way,) = (line for line in lines if len(line.split()) == 11 and line in str(drawn).partition("</figure>")[0])
    places = [tuple(map(float, at.split(","))) for at in way.split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places), "from zero_shot to ft"
    without = of(curve={})
    assert not [text for text in told(id_ood.body([without])) if text.startswith("wise_ft, alpha ")]
    assert "wise_ft, runs/other & more, alpha 0.4" in "".join(told(id_ood.body([RICH, OTHER])))


def test_the_ceiling_is_no_part_of_the_front():
    figure = ElementTree.fromstring(f"<all>{id_ood.body([RICH])}</all>")
    (front,) = (p for p in figure.iter("polyline") if "dashed" in p.get("class"))
    assert len(front.get("points").split()) == 2, "autoft and ft"


def test_history_adds_costs_up():
    drawn = history.body([RICH])
    marks = [text for text in told(drawn) if text.startswith(("trial", "final"))]
    assert len(marks) == 7
    assert marks[1].startswith("trial 1: loss inf, accuracy 50.0 %\ndiverged a reason")
    assert history.body([replace(RICH, records=[replace(RECORDS[0], outcome=outcome(inf, "oom"))])]) == ""
    two = history.body([RICH, OTHER])
    assert two.count("<figure>") == 1
    assert "runs/other &amp; more</text>" in two


def test_few_hyperparameters_that_follow_derivatives_are_lines():
    drawn = trajectories.body(RICH)
    assert "over the descents" in drawn
    assert "kd, trial 3: 0.6" in told(drawn)
    assert "head, trial 3: probe" in told(drawn)
    steered = of(objective={**DOCUMENT["objective"], "schedule": [1]})
    assert "over the training that they steer" in trajectories.body(steered)


def test_many_hyperparameters_are_a_map_by_term():
    space = tuple(Float(f"{term}@block.{i}", 0, 1) for i in range(40) for term in ("lr", "wd"))
    params = {d.name: 0.25 for d in space}
    records = [Record("trial", i, params, i, outcome(1.0), (0.1,) * 80) for i in range(100)]
    drawn = trajectories.body(replace(RICH, space=space, records=records))
    figure = ElementTree.fromstring(str(drawn))
    fields = list(figure.iter("rect"))
    assert len(fields) <= trajectories.CELLS
    assert {field.get("fill-opacity") for field in fields} == {"0.25"}
    rows = [e.text for e in figure.iter("text")][:80]
    assert rows == [f"{term}@block.{i}" for term in ("lr", "wd") for i in range(40)]
    assert "lr@block.0, trial 0: 0.25" in told(drawn)
    assert "lr@block.0, trial 99: 0.25" in told(drawn)


def test_sensitivities_are_means_with_their_errors():
    drawn = told(sensitivities.body(RICH))
    slopes = [r.gradient[0] for r in RECORDS if r.kind == "trial" and r.gradient][2:]
    said = f"{SPACE[0].name}: {fmean(slopes):.3g}, standard error {stdev(slopes) / sqrt(2):.2g} of 2 steps"
    assert drawn[0] == said, "the largest first"
    checked = "One of them was compared with a slope measured in another way: off by 50 % at most."
    assert checked in sensitivities.body(RICH)


def test_without_derivatives_they_are_rank_correlations():
    rng = random.Random(0)
    space = (Float("a", 0, 1), Float("b", 0, 1), Float("still", 0, 1))
    points = [(rng.choice([0.1, 0.2, 0.5, rng.random()]), rng.random()) for _ in range(30)]
    values = [2 * a - b + rng.random() for a, b in points]
    records = [
        Record("trial", i, {"a": a, "b": b, "still": 0.5}, i, outcome(v))
        for i, ((a, b), v) in enumerate(zip(points, values, strict=True))
    ]
    drawn = told(sensitivities.body(replace(RICH, space=space, records=records)))
    expected = {name: spearmanr([p[i] for p in points], values).statistic for i, name in enumerate("ab")}
    assert sorted(drawn) == [f"{name}: {rho:+.2f}" for name, rho in expected.items()]
    assert sensitivities.body(replace(RICH, space=space, records=records[:5])) == ""


def test_what_is_lost_without_a_part_is_a_bar():
    without = {
        "kd": {"accuracy": 0.55, "lost": 0.075, "error": 0.02},
        "ce:ood_val": {"accuracy": 0.62, "lost": 0.005, "error": 0.01},
        "hinge": None,
    }
    drawn = sensitivities.body(of(leave_one_out={"accuracy": 0.625, "without": without}))
    assert "<b>Without one part.</b>" in drawn
    bars = told(drawn)[-3:]
    assert bars[0] == "kd: 55.0 % without it, +7.5 points lost, standard error 2.0"
    assert bars[2] == "hinge: the fine-tune without it diverges"
    assert "Without one part" not in sensitivities.body(RICH)


def test_tests_and_their_domains_hardest_first():
    drawn = parts.body(RICH)
    rows = [e.text for e in ElementTree.fromstring(f"<all>{drawn}</all>").iter("text")]
    assert [r for r in rows if r in ("id_test", "ood_test/fog", "dusk <1>", "dawn")][:4] == [
        *("id_test", "dusk <1>", "dawn"),
        "ood_test/fog",
    ]
    assert "autoft on ood_test/fog: 62.0 % [59.0, 66.0], 100 images" in told(drawn)
    assert "autoft on dusk <1>: 52.0 % [49.0, 56.0], 25 images" in told(drawn)


def test_bins_and_confusions_of_several_tests_are_added_up():
    drawn = told(mistakes.body(RICH))
    assert "autoft: of 80 images named with 30 % confidence 20 % are right" in drawn
    assert "autoft: of 120 images named with 85 % confidence 70 % are right" in drawn
    right = 62 + 57
    assert f"{CLASSES[0]} taken for {CLASSES[0]}: {right} of {right} images" in drawn
    assert f"dog taken for owl: {200 - right} of {200 - right} images" in drawn


def test_of_many_classes_the_most_frequent_confusions_are_a_table():
    split = {**DOCUMENT["methods"]["autoft"]["ood_test/fog"], "confusion": [[40, 2, 7], [1, 50, 3], [9, 9, 99]]}
    drawn = mistakes.body(of(methods={"autoft": {"ood_test/fog": split}}, provenance={"classes": ["a", "b", "c"]}))
    assert "class 40</th><td>c</td>" in drawn
    assert re.search(r'>b</th><td>class 50</td><td data-v="3">3</td>', drawn)
    assert "99" not in drawn


def test_drift_is_told_by_group():
    assert "autoft, head: 3" in told(drift.body(RICH))
    fullest = re.findall(r'class="c1" fill-opacity="(1.00)"><title>(.*?)<', drift.body(RICH))
    assert fullest == [("1.00", "oracle, stem: 0.4"), ("1.00", "oracle, head: 4")]


def test_costs_over_time_and_by_method():
    drawn = told(costs.body(RICH))
    assert "hypergradient 5: 0.50 s, 12 step equivalents" in drawn
    assert "oracle: 6.00 s, 120 step equivalents" in drawn


def test_examples_have_their_words():
    drawn = examples.body(RICH)
    assert "Of 80 OOD validation images autoft names 20 rightly that ft does not, and fails on 2" in drawn
    assert 'alt="cat &amp; mouse, dusk"' in drawn
    assert "Broken: the 1 clearest of 2" in drawn


def test_the_command_and_that_which_makes_it_again():
    drawn = provenance.body(RICH)
    assert "<pre>python -m metaft.run --mode hypergrad --out &#39;a b&#39;</pre>" in drawn
    assert "<pre>python -m metaft.run --reproduce runs/rich</pre>" in drawn
    assert '<th scope="row">ood_val</th><td data-v="80">80</td>' in drawn


def test_the_objective_is_in_tables():
    drawn = objective.body(RICH)
    assert '<th scope="row">kd</th><td data-v="0.25">0.25</td>' in drawn
    assert '<th scope="row">stem</th>' in drawn


def test_one_table_of_all_runs():
    drawn = methods.body([RICH, OTHER])
    assert drawn.count("<table") == 1
    assert drawn.count("<tr") == 1 + 2 * len(METHODS)
    assert drawn.count('class="kept"') == 2
    assert "<td>runs/other &amp; more</td>" in drawn
