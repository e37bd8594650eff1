"""What reports tell beside accuracy: other metrics, groups, and accuracy by domain."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from metaft.errors import DataError
from metaft.report.breakdown import DOMAINS, OTHERS_NOTE, by_domain, groups_note, other_rows
from metaft.report.tables import methods_table, page
from metaft.report.values import metrics_of, ood_mean, written
from metaft.report.write import write_run
from metaft.results import Results
from metaft.score import Score
from tests.results import DOCUMENT, RESULTS


def score(accuracy: float, nll: float, **more: float) -> Score:
    metrics = {"accuracy": accuracy, "ece": 0.0421, "nll": nll, **more}
    return Score(metrics, 60, {name: (value - 0.05, value + 0.05) for name, value in metrics.items()})


PLACES = {f"place {i}": score(i / 16, 2.0) for i in range(16)}
OF_PLACES = replace(score(0.5, 1.25, worst_group=0.0), groups=16, by_domain=PLACES)
RICH = replace(
    RESULTS,
    scores={
        "zero_shot": {"id_test": score(0.5, 1.5), "ood_test/test": OF_PLACES},
        "ft": {"id_test": score(0.8, 0.5), "ood_test/test": replace(OF_PLACES, by_domain={**PLACES})},
    },
)
RICH_DOCUMENT = RICH.to_dict()


def test_they_come_back_from_their_file(tmp_path):
    RICH.save(tmp_path)
    assert Results.load(tmp_path) == RICH
    split = json.loads((tmp_path / "results.json").read_text())["methods"]["ft"]["ood_test/test"]
    assert set(split) == {"accuracy", "ece", "nll", "worst_group", "n", "ci95", "groups", "by_domain"}
    assert split["by_domain"]["place 8"]["accuracy"] == 0.5
    assert split["by_domain"]["place 8"]["ci95"]["nll"] == [1.95, 2.05]
    assert set(RICH_DOCUMENT["methods"]["ft"]["id_test"]) == {"accuracy", "ece", "nll", "n", "ci95"}


def test_a_number_that_is_not_finite_comes_back_as_none(tmp_path):
    odd = {
        "id_test": Score(
            {"accuracy": 0.5, "nll": float("inf")}, 4, {"accuracy": (0.0, 1.0), "nll": (0.0, float("nan"))}
        )
    }
    replace(RESULTS, scores={"ft": odd}, handed_back=None).write(tmp_path)
    assert "- [0.000, -] |" in Results.load(tmp_path).table("nll")


def test_a_table_of_each_metric():
    assert metrics_of(RICH_DOCUMENT) == ["accuracy", "ece", "nll", "worst_group"]
    assert "80.0 [75.0, 85.0]" in RICH.table()
    assert "4.2 [-0.8, 9.2]" in RICH.table("ece")
    assert "0.500 [0.450, 0.550]" in RICH.table("nll"), "in nats"
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in RICH.table("worst_group").splitlines()]
    assert cells[0] == ["method", "id_test", "ood_test/test"]
    assert cells[2] == ["zero_shot", "-", "0.0 [-5.0, 5.0]"]


def test_a_metric_that_is_not_there():
    with pytest.raises(DataError, match=r"metric: 'acuracy'; allowed: accuracy, ece, .* Did you mean 'accuracy'\?"):
        RICH.table("acuracy")
    with pytest.raises(DataError, match="metric: 'nll'; allowed: accuracy"):
        methods_table(DOCUMENT, "nll")
    assert methods_table({"methods": {}}).startswith("| method |")


def test_a_mean_needs_every_test():
    method = {"ood_test/a": {"accuracy": 0.5, "worst_group": 0.2}, "ood_test/b": {"accuracy": 0.7}}
    assert ood_mean(method) == pytest.approx(0.6)
    assert ood_mean(method, "worst_group") is None


def test_other_metrics_are_in_one_table():
    assert other_rows(RICH_DOCUMENT) == [
        ["method", "ECE", "NLL", "worst group"],
        ["zero_shot", "4.2", "1.250", "0.0"],
        ["ft", "4.2", "1.250", "0.0"],
    ]
    assert OTHERS_NOTE in page(RICH_DOCUMENT)
    assert "lower is better for ECE, adaptive ECE, NLL. " in OTHERS_NOTE
    assert other_rows(DOCUMENT) == []
    assert OTHERS_NOTE not in page(DOCUMENT), "of before there were others"


def test_the_hardest_domains_are_shown():
    ((caption, (header, *rows)),) = by_domain(RICH_DOCUMENT).items()
    assert caption == f"Accuracy on ood_test/test by domain (images), the {DOMAINS} hardest of 16 domains."
    assert header == ["method", *(f"place {i} (60)" for i in range(8))]
    assert rows[0] == ["zero_shot", *(written(i / 16) for i in range(8))]
    few = {place: PLACES[place] for place in ("place 9", "place 3")}
    scores = {"ft": {"ood_test/test": replace(OF_PLACES, by_domain=few)}, "kd": {"ood_test/test": score(0.5, 1.0)}}
    ((caption, table),) = by_domain(replace(RICH, scores=scores).to_dict()).items()
    assert caption.endswith("hardest domain first.")
    assert table == [["method", "place 3 (60)", "place 9 (60)"], ["ft", "18.8", "56.2"], ["kd", "-", "-"]]
    assert by_domain(DOCUMENT) == {}


def test_intervals_over_groups_are_told():
    said = "Images of a group are alike: intervals draw whole groups, 16 on ood_test/test"
    assert groups_note(RICH_DOCUMENT) == f"{said}; fewer than 30 make them too narrow."
    assert groups_note(RICH_DOCUMENT) in page(RICH_DOCUMENT)
    many = replace(RICH, scores={"ft": {"ood_test/test": replace(OF_PLACES, groups=30)}}).to_dict()
    assert groups_note(many) == "Images of a group are alike: intervals draw whole groups, 30 on ood_test/test."
    assert groups_note(DOCUMENT) == ""


def test_the_page_of_a_run_has_them(tmp_path):
    write_run(RICH_DOCUMENT, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert groups_note(RICH_DOCUMENT) in html
    assert '<th scope="col">place 7 (60)</th>' in html
    assert "place 8 (60)" not in html
    assert "<summary>NLL on every test, with intervals</summary>" in html
    assert '<td data-v="0.5">0.500 [0.450, 0.550]</td>' in html
    write_run(DOCUMENT, tmp_path)
    assert "on every test, with intervals" not in (tmp_path / "report.html").read_text()
