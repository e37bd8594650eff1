"""Tables, figures and pages from results alone."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from metaft.report.__main__ import main
from metaft.report.tables import group_rows, markdown, methods_table, objective_rows, objective_table, ood_mean, page
from metaft.report.write import write_run


def split(value: float) -> dict:
    return {"accuracy": value, "n": 100, "ci95": {"accuracy": [value - 0.05, value + 0.05]}}


RESULTS = {
    "title": "a & b <study>",
    "mode": "tpe",
    "seed": 0,
    "objective": {"terms": {"ce": 1.0, "kd": 0.25}, "lr": 1e-4, "wd": 0.1},
    "search": {"trials": 3, "best_value": 1.25, "finalists": []},
    "methods": {
        "zero_shot": {"id_test": split(0.5), "ood_test/fog": split(0.6), "ood_test/sketch": split(0.4)},
        "ft": {"id_test": split(0.8), "ood_test/fog": split(0.5), "ood_test/sketch": split(0.2)},
    },
    "failed": {"autoft": "diverged in step 3"},
    "provenance": {},
}


HEADER = ["method", "id_test", "ood_test/fog", "ood_test/sketch", "OOD mean"]


def test_table():
    lines = methods_table(RESULTS).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == HEADER
    assert lines[3].split("|")[2].strip() == "80.0 [75.0, 85.0]"
    assert lines[3].split("|")[5].strip() == "35.0"
    assert len({len(line) for line in lines}) == 1
    assert ood_mean(RESULTS["methods"]["ft"]) == pytest.approx(0.35)


def test_markdown_aligns():
    assert markdown(["a", "bb"], [["ccc", "1"]]) == "| a   | bb |\n|-----|---:|\n| ccc |  1 |"


def test_page_tells_what_failed():
    text = page(RESULTS)
    assert "**autoft** gave no result: diverged in step 3" in text
    assert "| kd " in text


def test_an_objective_is_shown_by_group():
    own = {"stem": {"lr": 1e-5, "terms": {"l2init": 0.5}}, "head": {"lr": 1e-2}}
    results = {"objective": {**RESULTS["objective"], "groups": own, "head": "linear_probe", "schedule": [[0.5, {}]]}}
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


def test_a_run_is_written(tmp_path):
    write_run(RESULTS, tmp_path)
    with Image.open(tmp_path / "figures" / "id_ood.png") as image:
        assert image.size[0] > 500
    html = (tmp_path / "report.html").read_text()
    assert "a &amp; b &lt;study&gt;" in html
    assert "80.0" in html
    assert "data:image/png;base64," in html
    assert (tmp_path / "results.md").read_text() == page(RESULTS)


def test_runs_are_compared(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(RESULTS))
    out = tmp_path / "page.html"
    assert main([str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(out)]) == 0
    assert out.read_text().count("<h2>") == 2
    assert out.with_suffix(".png").exists()
    assert "80.0" in capsys.readouterr().out


def test_no_results_is_a_clear_error(tmp_path, capsys):
    assert main([str(tmp_path / "absent")]) == 3
    assert "no readable results" in capsys.readouterr().err


def test_versions_of_a_suite_never_share_a_page(tmp_path, capsys):
    for name, suite in (("a", "shapes"), ("b", "digits"), ("c", "shapes")):
        version = 2 if name == "c" else 1
        results = {**RESULTS, "provenance": {"suite": {"format": suite, "version": version}}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main([a, b, "--out", str(tmp_path / "page.html")]) == 0
    assert main([a, b, c, "--out", str(tmp_path / "page.html")]) == 3
    assert f"{c}: shapes in version 2, but {a} in version 1; allowed" in capsys.readouterr().err


def test_the_oracle_is_called_a_ceiling():
    methods = {**RESULTS["methods"], "oracle": RESULTS["methods"]["ft"]}
    assert "a ceiling, not a competitor" in page({**RESULTS, "methods": methods})
    assert "ceiling" not in page(RESULTS)
