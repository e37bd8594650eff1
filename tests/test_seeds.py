"""Means and intervals over seeds, beside scipy's."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from scipy import stats

from metaft import config
from metaft.errors import DataError
from metaft.objective import Objective
from metaft.seeds import Summary, begin, given_in, half_width, seeds_in
from tests.results import DOCUMENT


def run(shift: float, kept: str = "ft"):
    scores = {
        method: {split: {**score, "accuracy": score["accuracy"] + shift} for split, score in splits.items()}
        for method, splits in DOCUMENT["methods"].items()
    }
    return {**DOCUMENT, "methods": scores, "handed_back": {"method": kept, "reason": ""}}


@pytest.mark.parametrize("n", [2, 3, 10])
def test_half_widths_are_those_of_students_t(n):
    values = np.random.default_rng(n).normal(size=n).tolist()
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert half_width(values) == pytest.approx((high - low) / 2)
    assert half_width([*values, None]) == half_width(values)
    assert half_width(values[:1]) is None


def test_a_summary_of_three_runs():
    summary = Summary({1: run(0.0), 2: run(0.1, "zero_shot"), 5: run(0.2)})
    raw = summary.to_dict()
    assert raw["seeds"] == [1, 2, 5]
    assert raw["handed_back"] == {"ft": 2, "zero_shot": 1}
    assert raw["methods"]["ft"]["OOD mean"]["accuracy"]["mean"] == pytest.approx(0.45)
    assert raw["methods"]["handed back"]["id_test"]["accuracy"]["values"] == pytest.approx([0.8, 0.6, 1.0])
    assert summary.choices() == "ft 2 times, zero_shot 1 times"
    assert f"| 90.0 ± {100 * half_width([0.8, 0.9, 1.0]):.1f}" in summary.table()


def test_a_method_that_one_seed_lacks_is_told():
    lacking = run(0.1)
    del lacking["methods"]["ft"]
    lacking["handed_back"] = None
    summary = Summary({0: run(0.0), 1: lacking})
    assert summary.to_dict()["methods"]["ft"]["id_test"]["accuracy"] == {
        "mean": 0.8,
        "half_width": None,
        "values": [0.8, None],
    }
    assert "80.0 (1 none)" in summary.table()


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"seeds": 3}', '{"seeds": ["a"]}', '{"seeds": [true]}', "[" * 10**5),
        *('{"seeds": []}', '{"seeds": [-1]}', '{"seeds": [1, 1]}', '{"seeds": [99999999999999999999]}'),
    ],
)
def test_seeds_that_cannot_be_read(tmp_path, content):
    (tmp_path / "seeds.json").write_text(content)
    with pytest.raises(DataError, match=r"seeds\.json: the seeds cannot be read"):
        seeds_in(tmp_path)
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": [3, 1]}))
    assert seeds_in(tmp_path) == [3, 1]


def test_seeds_that_are_no_file_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "seeds.json")
    with pytest.raises(DataError, match=r"seeds\.json: the seeds cannot be read"):
        seeds_in(tmp_path)


@pytest.mark.parametrize("change", ["edited", "gone", "new"])
def test_what_runs_were_given_stays(tmp_path, change):
    found = Objective({"ce": 1.0}, 1e-3, 0.1)
    folder = begin(config.load(None, [f"out={tmp_path / 'several'}"]), None if change == "new" else found, [1, 2])
    assert given_in(folder) == (None if change == "new" else found)
    if change == "gone":
        shutil.rmtree(folder / "given")
    else:
        (folder / "given").mkdir(exist_ok=True)
        (folder / "given" / "objective.yaml").write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-2\nwd: 0.1\n")
    with pytest.raises(DataError, match="given: not the objective that the runs were given; allowed: as they began"):
        given_in(folder)
