"""Tables from results alone."""

from __future__ import annotations

import pytest

from metaft.report.tables import (
    OOD_VAL_NOTE,
    group_rows,
    handed_back,
    markdown,
    methods_table,
    objective_rows,
    objective_table,
    page,
)
from metaft.report.values import ood_mean
from tests.results import DOCUMENT

HEADER = ["method", "id_test", "ood_test/fog", "ood_test/sketch", "OOD mean", "ood_val"]


def test_table():
    lines = methods_table(DOCUMENT).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == HEADER
    assert lines[3].split("|")[2].strip() == "80.0 [75.0, 85.0]"
    assert lines[3].split("|")[5].strip() == "35.0"
    assert [line.split("|")[6].strip() for line in lines[2:]] == ["62.5", "-"]
    assert "ood_val" not in methods_table({**DOCUMENT, "ood_val": {}})
    assert len({len(line) for line in lines}) == 1
    assert ood_mean(DOCUMENT["methods"]["ft"]) == pytest.approx(0.35)


def test_markdown_aligns():
    assert markdown(["a", "bb"], [["ccc", "1"]]) == "| a   | bb |\n|-----|---:|\n| ccc |  1 |"


def test_markdown_has_as_many_columns_whatever_names_hold():
    assert markdown(["a|b", "c"], [["x", "|1"]]) == "| a\\|b |   c |\n|------|----:|\n| x    | \\|1 |"


def test_page_tells_what_failed():
    text = page(DOCUMENT)
    assert "**autoft** gave no result: diverged in step 3" in text
    assert "| kd " in text


def test_page_tells_what_is_handed_back_first():
    text = page(DOCUMENT)
    sentence = "zero_shot is handed back: it has the best accuracy on ood_val, 62.5 %."
    assert text.split("\n\n")[1] == handed_back(DOCUMENT) == sentence
    assert OOD_VAL_NOTE in text
    without = page({**DOCUMENT, "handed_back": None, "ood_val": {}})
    assert "handed back" not in without
    assert OOD_VAL_NOTE not in without
    older = {key: value for key, value in DOCUMENT.items() if key not in ("handed_back", "ood_val")}
    assert page(older) == without


def test_an_objective_is_shown_with_its_sources_and_its_share():
    text = page({**DOCUMENT, "objective": {**DOCUMENT["objective"], "sources": {"ood_val": 3.0}, "alpha": 0.7}})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert ["ce on ood_val", "3"] in cells
    assert ["share of the way", "0.7"] in cells
    assert "share of the way" not in page({**DOCUMENT, "objective": {**DOCUMENT["objective"], "alpha": 1.0}})


def test_the_last_choice_is_told():
    kept = {"method": "ft_ood_val", "alpha": 0.7, "values": {"autoft": 0.4321, "ft_ood_val": 0.4}}
    results = {**DOCUMENT, "search": {**DOCUMENT["search"], "last_choice": kept}}
    sentence = (
        "At full length what ood_val tells of accuracy, less what is lost on id_val, is 43.2 % with that of the "
        "search, 40.0 % with that of ft_ood_val; the learned objective is that of ft_ood_val, at 0.7 of the way."
    )
    assert sentence in page(results)
    assert "full length" not in page({**DOCUMENT, "search": {**DOCUMENT["search"], "last_choice": None}})
    assert "last choice" not in page(results)


def test_an_objective_is_shown_by_group():
    groups = {"stem": {"lr": 1e-5, "terms": {"l2init": 0.5}}, "head": {"lr": 1e-2}}
    results = {
        "objective": {**DOCUMENT["objective"], "groups": groups, "head": "linear_probe", "schedule": [[0.5, {}]]}
    }
    assert objective_rows(results) == [
        ["objective", "value"],
        ["ce", "1"],
        ["kd", "0.25"],
        ["lr", "0.0001"],
        ["wd", "0.1"],
        ["head", "linear probe"],
        ["changes on the way", "1, see objective.yaml"],
    ]
    assert group_rows(results) == [["group", "lr", "l2init"], ["stem", "1e-05", "0.5"], ["head", "0.01", ""]]
    assert objective_table(results).count("| lr") == 1
    assert objective_table({"objective": None}) == ""


def test_the_oracle_is_called_a_ceiling():
    methods = {**DOCUMENT["methods"], "oracle": DOCUMENT["methods"]["ft"]}
    assert "a ceiling, not a competitor" in page({**DOCUMENT, "methods": methods})
    assert "ceiling" not in page(DOCUMENT)
