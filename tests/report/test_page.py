"""Pages of one run, of several, and of runs that have left little."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from metaft.report.page import EACH, HERE, TOGETHER, render
from metaft.report.run import run_in
from tests.report.checker import Page, contrast, faults, palettes
from tests.report.runs import BARE, DOCUMENT, OTHER, RECORDS, RICH
from tests.results import DOCUMENT as PLAIN

ALL = render([RICH], "a & b <study>")
PAGES = {
    "rich": ALL,
    "several": render([RICH, OTHER, replace(BARE, name="bare"), run_in(HERE, PLAIN)], "several"),
    "bare": render([BARE], "bare"),
    "of before": render([run_in(HERE, PLAIN)], "before"),
}


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wrong_with_it(name):
    assert faults(PAGES[name]) == []


def test_every_section_is_there():
    for name, _ in (*TOGETHER, *EACH):
        assert re.search(f"<h2[^>]*>{name}</h2>", ALL), name
    names = [attrs["aria-label"] for tag, attrs in Page(ALL).seen if tag == "svg"]
    assert names == [
        "Accuracy on the tests",
        "Accuracy on validation images",
        "Outer loss over the cost of the search",
        "Accuracy by test and domain",
        "Calibration",
        "Confusions",
        "Hyperparameters over the descents",
        "Hypergradients",
        "Drift of weights by parameter group",
        "The search over time",
        "What methods took",
    ]


def test_what_is_not_known_is_left_out():
    bare = PAGES["bare"]
    assert "<figure>" not in bare
    assert "No model is handed back" in bare
    assert "<h2 id=" in bare


def test_of_several_runs_each_has_its_part():
    text = PAGES["several"]
    for name in ("runs/rich", "runs/other &amp; more", "bare"):
        assert f">{name}</h2>" in text
    assert text.count("Outer loss over the cost of the search.") == 1, "on one axis"
    assert text.count("<b>Hypergradients.</b>") == 2
    assert Page(text).headings.count(4) > 0, "headings within a run's part are a level down"


def test_words_are_escaped():
    assert "a &amp; b &lt;study&gt;" in ALL
    assert "cat &amp; mouse" in ALL
    assert "<study>" not in ALL
    assert "dusk <1>" not in ALL


def test_no_title_is_code():
    odd = replace(RICH, name="{0} {style} <script>", results={**DOCUMENT, "title": "{content}"})
    text = render([odd], "{script} % {}")
    assert faults(text) == []
    assert "<title>{script} % {}</title>" in text
    assert "{0} {style} &lt;script&gt;" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrasts(scheme):
    """Text has 4.5 on either ground, marks and lines of figures 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colours = palettes((HERE / "page.css").read_text())[scheme]
    for ground in ("paper", "card"):
        for name in ("ink", "muted", "link", "good", "bad", "warn"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for i in range(1, 8):
            assert contrast(colours[f"c{i}"], colours[ground]) >= 3, (i, ground)


def test_contrast_by_hand():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


def test_pictures_are_of_validation_alone():
    """All pictures of a page come from examples.json, which is made of ood_val."""
    assert Page(ALL).count("img") == 1
    assert Page(render([replace(RICH, examples=None)], "none")).count("img") == 0


def test_a_long_search_stays_a_small_page():
    records = [
        replace(RECORDS[2 + i % 4], number=i, clock=0.1 * i, outcome=replace(RECORDS[2].outcome, value=1 + 1 / (1 + i)))
        for i in range(20_000)
    ]
    text = render([replace(RICH, records=records), replace(OTHER, records=records)], "long")
    assert faults(text) == [], "3 MB among them"
    assert "hypergradient 1 to " in text, "what ends within a pixel is drawn as one"
