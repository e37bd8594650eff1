"""The files of a run's report, and one page over several runs."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from metaft.finetune.methods import METHODS
from metaft.report import __main__ as report
from metaft.report.__main__ import main
from metaft.report.figures import id_against_ood
from metaft.report.tables import page
from metaft.report.write import write_run
from tests.report.checker import faults
from tests.results import DOCUMENT, RESULTS
from tests.watch.folders import PHASES, comparing


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


def test_no_page_replaces_what_a_run_has_left(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "results.json").write_text(json.dumps(DOCUMENT))
    assert main([str(run), "--out", str(run / ".." / "run" / "results.json")]) == 2
    assert "results.json, a file of the run; allowed: a new file, or a page" in capsys.readouterr().err
    assert json.loads((run / "results.json").read_text()) == DOCUMENT
    for _ in range(2):
        assert main([str(run), "--out", str(run / "mine.htm")]) == 0


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


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_at_any_phase_has_a_page(phase, tmp_path, capsys):
    phase(tmp_path / "run")
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    html, said = (tmp_path / "page.html").read_text(), capsys.readouterr().out
    assert faults(html) == []
    assert 'http-equiv="refresh"' not in html, "nobody writes it anew"
    standing = phase is not PHASES[-1]
    assert (f"{tmp_path / 'run'} has not ended. This is what was known at 2" in html) is standing
    assert (f"--resume {tmp_path / 'run'}" in html) is standing
    assert ("phase: " in said) is standing


def test_an_unfinished_page_tells_search_and_methods(tmp_path):
    comparing(tmp_path / "run")
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text()
    for told in (
        "methods: 2 of at most",
        "Search history</h2>",
        "Methods and splits</h2>",
        "</b>: 1.25, what the search has settled on<",
        ">80.0<",
    ):
        assert told in html, told
    assert "Did it help?" not in html, "before a model is handed back there is no verdict"


def test_a_page_follows_runs_to_their_end(tmp_path, monkeypatch, capsys):
    """Each page but the last loads itself anew; the last is that of runs that have ended."""
    out, pages, later = tmp_path / "page.html", [], iter(PHASES[1:])
    PHASES[0](tmp_path / "run")
    PHASES[-1](tmp_path / "other")

    def sleep(seconds):
        pages.append(out.read_text())
        next(later)(tmp_path / "run")

    monkeypatch.setattr(report.time, "sleep", sleep)
    words = [str(tmp_path / "run"), str(tmp_path / "other"), "--out", str(out)]
    assert main([*words, "--follow"]) == 0
    assert len(pages) == len(PHASES) - 1
    again = '<meta http-equiv="refresh" content="30">'
    assert all(again in page and faults(page) == [] for page in pages)
    assert all(page.count("has not ended") == 1 for page in pages)
    assert again not in out.read_text()
    followed = out.read_text()
    assert main(words) == 0
    assert out.read_text() == followed
    assert "is written every 30 s" in capsys.readouterr().err


def test_of_several_seeds_each_run_is_on_the_page(tmp_path):
    """Also of those that are not begun yet, or have not ended."""
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "seeds.json").write_text('{"seeds": [2, 10, 3]}')
    assert main([str(tmp_path / "seeds")]) == 3, "before the first"
    for seed, phase in ((10, PHASES[1]), (2, PHASES[-1])):
        phase(tmp_path / "seeds" / f"seed-{seed}")
    assert main([str(tmp_path / "seeds"), "--out", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text()
    assert html.index("seed-2</h2>") < html.index("seed-10</h2>")
    assert html.count("has not ended") == 1


def test_several_seeds_are_followed_to_the_last(tmp_path, monkeypatch):
    """Between two of them none is at work, and the page is written on."""
    folder, out, pages = tmp_path / "seeds", tmp_path / "page.html", []
    folder.mkdir()
    (folder / "seeds.json").write_text('{"seeds": [0, 1]}')
    PHASES[-1](folder / "seed-0")
    later = iter(
        [lambda: PHASES[1](folder / "seed-1"), lambda: PHASES[-1](folder / "seed-1"), (folder / "summary.json").touch]
    )
    monkeypatch.setattr(report.time, "sleep", lambda seconds: (pages.append(out.read_text()), next(later)()))
    assert main([str(folder), "--out", str(out), "--follow"]) == 0
    said = ["More runs are to come.", f"{folder / 'seed-1'} has not ended.", "More runs are to come."]
    assert [words in page for words, page in zip(said, pages, strict=True)] == [True] * 3
    assert all('http-equiv="refresh"' in page for page in pages)
    assert "has not ended" not in out.read_text()


def test_of_runs_without_a_model_none_is_the_best(tmp_path):
    for name in ("a", "b"):
        PHASES[1](tmp_path / name)
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "page.html")]) == 0
    assert "2 runs, of which none has handed a model back." in (tmp_path / "page.html").read_text()


def test_no_results_is_a_clear_error(tmp_path, capsys):
    assert main([str(tmp_path / "absent")]) == 3
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path / 'absent'}: no such folder; allowed: the folder of a metaft run\n"
    )
    assert main([str(tmp_path)]) == 3
    assert "results.json: no readable results (No such file or directory)" in capsys.readouterr().err


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
