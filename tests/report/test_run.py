"""What lies in a run's folder, as a report reads it; damage is told and costs the page nothing else."""

from __future__ import annotations

import json

import pytest

from metaft.report.page import render
from metaft.report.run import EXAMPLES, WARNINGS, Run, run_in
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Start
from metaft.space import Space
from tests.report.checker import faults
from tests.report.runs import DOCUMENT, EVENTS, RECORDS, RICH, SPACE
from tests.report.runs import EXAMPLES as SHOWN


@pytest.fixture
def folder(tmp_path):
    """A run's folder with a journal, events and examples."""
    journal = Journal(tmp_path / PLACE)
    journal.bind(Space(SPACE))
    for record in RECORDS:
        if record.kind == "trial":
            journal.start(Start(record.number, record.params, record.seed))
        journal.append(record)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    (tmp_path / WARNINGS).write_text("skipped: a.png\nskipped: <b>.png\n")
    (tmp_path / EXAMPLES).write_text(SHOWN.model_dump_json())
    return tmp_path


def test_all_of_it_comes_back(folder):
    run = run_in(folder, DOCUMENT, "runs/rich")
    assert run.odd == ()
    assert run.space == SPACE
    assert run.events == EVENTS
    assert run.examples == SHOWN
    assert run.warned == ("skipped: a.png", "skipped: <b>.png")
    assert [(r.kind, r.number, r.params) for r in run.records] == [(r.kind, r.number, r.params) for r in RECORDS]
    assert faults(render([run], "t")) == []
    for name in ("Hypergradients", "Calibration"):
        assert f"<b>{name}.</b>" in render([run], "t")


def test_a_folder_with_results_alone(tmp_path):
    run = run_in(tmp_path, DOCUMENT)
    assert run == Run(tmp_path.name, DOCUMENT)


@pytest.mark.parametrize("content", [b"{", b"[]\n\n", b"\xff\xfe", b'{"version": 1}\n'])
@pytest.mark.parametrize("name", [str(PLACE), "metrics.jsonl", EXAMPLES])
def test_what_is_damaged_is_left_out_and_told(folder, name, content):
    (folder / name).write_bytes(content)
    run = run_in(folder, DOCUMENT)
    assert all(text.startswith(f"{name} is left out: ") for text in run.odd)
    assert faults(render([run], "t")) == []
    kept = {str(PLACE): run.records, "metrics.jsonl": run.events, EXAMPLES: run.examples}
    assert all(kept[other] for other in kept if other != name)


def test_pictures_are_nothing_but_pictures(folder):
    shown = json.loads(SHOWN.model_dump_json())
    shown["fixed"]["shown"][0]["picture"]["base64"] = '"><script>alert(1)</script>'
    (folder / EXAMPLES).write_text(json.dumps(shown))
    run = run_in(folder, DOCUMENT)
    assert run.examples is None
    assert "examples.json is left out" in run.odd[0]
    assert RICH.examples is not None
