"""The files of a run's report, and one page over several runs."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from metaft.finetune.methods import METHODS
from metaft.report.__main__ import main
from metaft.report.figures import id_against_ood
from metaft.report.tables import page
from metaft.report.write import write_run
from tests.results import DOCUMENT, RESULTS


def test_a_run_is_written(tmp_path):
    write_run(DOCUMENT, tmp_path)
    with Image.open(tmp_path / "figures" / "id_ood.png") as image:
        assert image.size[0] > 500
    html = (tmp_path / "report.html").read_text()
    assert "a &amp; b &lt;study&gt;" in html
    assert "80.0" in html
    assert html.index("zero_shot is handed back: it has the best accuracy on ood_val, 62.5 %.") < html.index(">80.0<")
    assert '<th scope="col">ood_val</th>' in html
    assert '<td data-v="0.625">62.5</td>' in html
    assert (tmp_path / "results.md").read_text() == page(DOCUMENT)


def test_the_figure_holds_the_name_of_every_method(tmp_path):
    """With all methods its legend keeps off the edges."""
    run = {**DOCUMENT, "methods": dict.fromkeys(METHODS, DOCUMENT["methods"]["ft"])}
    with Image.open(id_against_ood([run], tmp_path / "all.png")) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.min() < 128
    assert min(edge.min() for edge in (pixels[:, :3], pixels[:, -3:], pixels[:3], pixels[-3:])) > 250


def test_a_run_of_before_is_written(tmp_path):
    older = {key: value for key, value in DOCUMENT.items() if key not in ("handed_back", "ood_val")}
    write_run(older, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "No model is handed back" in html
    assert '<th scope="col">ood_val</th>' not in html


def test_runs_are_compared(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(DOCUMENT))
    out = tmp_path / "page.html"
    assert main([str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(out)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "page.html"}, "nothing beside the page"
    for name in ("one", "two"):
        assert f'<th scope="row">{tmp_path / name}</th>' in out.read_text()
    assert "80.0" in capsys.readouterr().out


def test_no_results_is_a_clear_error(tmp_path, capsys):
    assert main([str(tmp_path / "absent")]) == 3
    assert "no readable results" in capsys.readouterr().err


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir])
def test_only_files_are_replaced(tmp_path, capsys, made):
    """A page that was to take the place of a device would end it for all who use it."""
    (tmp_path / "a").mkdir()
    RESULTS.write(tmp_path / "a")
    made(tmp_path / "out")
    mode = (tmp_path / "out").lstat().st_mode
    assert main([str(tmp_path / "a"), "--out", str(tmp_path / "out")]) == 2
    assert "--out: " in capsys.readouterr().err
    assert (tmp_path / "out").lstat().st_mode == mode
    assert main([str(tmp_path / "a"), "--out", str(tmp_path / "none" / "page.html")]) == 2


def test_a_name_that_is_no_utf8_is_written_out(tmp_path):
    folder = tmp_path / os.fsdecode(b"r\xff")
    folder.mkdir()
    RESULTS.write(folder)
    assert main([str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert "r\\udcff" in (tmp_path / "page.html").read_text()


def test_versions_of_a_suite_never_share_a_page(tmp_path, capsys):
    for name, suite in (("a", "shapes"), ("b", "digits"), ("c", "shapes")):
        version = 2 if name == "c" else 1
        results = {**DOCUMENT, "provenance": {"suite": {"format": suite, "version": version}}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main([a, b, "--out", str(tmp_path / "page.html")]) == 0
    assert main([a, b, c, "--out", str(tmp_path / "page.html")]) == 3
    assert f"{c}: shapes in version 2, but {a} in version 1; allowed" in capsys.readouterr().err
