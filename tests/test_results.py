"""Results: to a file and back, the best method, and what is said of a file that is none."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from metaft.cost import Cost
from metaft.errors import ConfigError, DataError
from metaft.objective import Objective
from metaft.results import Results, SearchResult
from tests.results import DOCUMENT, RESULTS, score


def test_they_come_back_from_their_dictionary():
    assert Results.from_dict(DOCUMENT) == RESULTS
    assert Results.from_dict(json.loads(json.dumps(DOCUMENT))).to_dict() == json.loads(json.dumps(DOCUMENT))


def test_older_ones_have_less():
    less = {key: value for key, value in DOCUMENT.items() if key not in ("handed_back", "ood_val")}
    assert Results.from_dict(less) == replace(RESULTS, handed_back=None, ood_val={})
    assert Results.from_dict({**DOCUMENT, "handed_back": None}).handed_back is None


def test_save_writes_the_file_and_its_report(tmp_path):
    RESULTS.save(tmp_path)
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"results.json", "provenance.json", "results.md", "report.html", "figures/id_ood.png"}
    assert Results.load(tmp_path) == RESULTS
    assert Results.load(str(tmp_path)) == RESULTS


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", ""):
        with pytest.raises(ConfigError, match=r"folder: .*; allowed: a folder that can be made and written to"):
            RESULTS.save(folder)


def test_write_leaves_the_report_out(tmp_path):
    RESULTS.write(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"results.json", "provenance.json"}


def test_the_best_is_no_ceiling():
    assert RESULTS.best == "zero_shot"
    good = {split: score(0.9) for split in RESULTS.splits}
    assert RESULTS.with_method("oracle", good, Cost(), {}).best == "zero_shot"
    assert RESULTS.with_method("autoft", good, Cost(), {}).best == "autoft"
    assert replace(RESULTS, scores={}).best is None
    assert replace(RESULTS, scores={"ft": {"id_test": score(0.5)}}).best is None, "there is no OOD test"


def test_what_they_hold():
    assert RESULTS.methods == ("zero_shot", "ft")
    assert RESULTS.splits == ("id_test", "ood_test/fog", "ood_test/sketch")
    assert RESULTS.metrics["ft"]["id_test"] == {"accuracy": 0.8}
    assert RESULTS.intervals["ft"]["id_test"] == {"accuracy": (0.75, 0.8 + 0.05)}
    assert "80.0 [75.0, 85.0]" in RESULTS.table()
    assert DOCUMENT["handed_back"] == {
        "method": "zero_shot",
        "reason": "it has the best accuracy on ood_val, 62.5 %",
        "ood_val": 0.625,
    }
    assert RESULTS.with_method("kd", {}, Cost(), {}, 0.5).ood_val == {"zero_shot": 0.625, "kd": 0.5}
    assert RESULTS.with_method("kd", {}, Cost(), {}).ood_val == {"zero_shot": 0.625}
    assert RESULTS.with_failure("kd", "diverged").failed == {"autoft": "diverged in step 3", "kd": "diverged"}


SCORE = '{"accuracy": 0.5, "n": 9, "ci95": {"accuracy": [0, 1]}, %s}'
ONE = f'{{"methods": {{"ft": {{"id_test": {SCORE}}}}}, "seed": 0, "provenance": {{}}}}'
DAMAGED = {
    "images of another split": ONE % '"right": "oA=="',
    "images of no letters": ONE % '"right": "????"',
    "groups of other images": ONE % '"right": "9oA=", "sizes": [4, 4]',
    "groups of no images": ONE % '"right": "9oA=", "sizes": [9, 0]',
    "empty": "",
    "torn": '{"methods": {"ft": {',
    "a list": "[]",
    "no methods": "{}",
    "methods of a list": '{"methods": []}',
    "no splits": '{"methods": {"ft": 3}, "seed": 0, "provenance": {}}',
    "no interval": '{"methods": {"ft": {"id_test": {"accuracy": 0.5, "n": 3}}}, "seed": 0, "provenance": {}}',
    "no seed": '{"methods": {}, "provenance": {}}',
    "odd handed back": '{"methods": {}, "handed_back": {"euros": 3}, "seed": 0, "provenance": {}}',
    "odd cost": '{"methods": {}, "cost": {"ft": {"euros": 3}}, "seed": 0, "provenance": {}}',
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=r"results\.json.*; allowed: ") as caught:
        Results.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_changed_numbers_are_found(tmp_path):
    """By a checksum, without which files of before are read, but by no run that goes on."""
    RESULTS.write(tmp_path)
    path = tmp_path / "results.json"
    text = path.read_text()
    path.write_text(text.replace("0.625", "0.925"))
    with pytest.raises(DataError, match=r"results\.json: no readable results \(its sha256 is '.*', not that of its"):
        Results.load(tmp_path)
    path.write_text(json.dumps(DOCUMENT))
    assert Results.load(tmp_path) == RESULTS
    with pytest.raises(DataError, match="its sha256 is None"):
        Results.load(tmp_path, unsealed=False)
    path.write_text(json.dumps(json.loads(text)))
    assert Results.load(tmp_path, unsealed=False) == RESULTS, "other spaces, the same numbers"


NUMBERS = {
    '"accuracy": 0.5': ('"accuracy": 1.5', "less than or equal to 1"),
    '"seed": 0': ('"seed": NaN', "NaN, which is no number of JSON"),
    '"provenance": {}': ('"provenance": {"suite": [1]}', "provenance.suite"),
    '"lr": 0.0001': ('"lr": 1e999', "objective.lr"),
    '"wd": 0.1': ('"wd": 0.1, "groups": {"head": {"terms": 3}}', "objective.groups.head.terms"),
}


@pytest.mark.parametrize(("old", "case"), NUMBERS.items(), ids=NUMBERS)
def test_what_no_report_could_show_is_named(tmp_path, old, case):
    text = json.dumps(DOCUMENT)
    assert old in text
    (tmp_path / "results.json").write_text(text.replace(old, case[0], 1))
    with pytest.raises(DataError, match=case[1]):
        Results.load(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_holds_no_results(tmp_path, kind):
    path = tmp_path / "results.json"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(DataError, match=r"results\.json: no readable results"):
        Results.load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent/results\.json: no readable results"):
        Results.load(tmp_path / "absent")


def test_a_search_tells_what_it_took():
    finalists = ({"number": 0, "mean": 1.0, "values": [1.0]},)
    result = SearchResult(Objective({"ce": 1.0}, 1e-3, 0.1), 1.0, (), Cost(12.0, 3.0), 20, 11, finalists)
    assert result.to_dict() == {
        "trials": 0,
        "best_value": 1.0,
        "inner_steps": 20,
        "step_equivalents": 12.0,
        "seconds": 3.0,
        "space_size": 11,
        "finalists": [{"number": 0, "mean": 1.0, "values": [1.0]}],
        "last_choice": None,
    }


def test_mistakes_come_back_from_their_file(tmp_path):
    told = replace(score(0.5), calibration=((3, 0.25, 0.5), (1, 0.9, 1.0)), confusion=((0, 1, 2), (1, 1, 2)))
    told = replace(told, n=9, right="9oA=", sizes=(4, 5))
    replace(RESULTS, scores={"ft": {"id_test": told}}, handed_back=None).write(tmp_path)
    assert Results.load(tmp_path).scores["ft"]["id_test"] == told
    assert Results.load(tmp_path).metrics == {"ft": {"id_test": {"accuracy": 0.5}}}
