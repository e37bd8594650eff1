"""A state in words: as plain text, and on a terminal, the same."""

from __future__ import annotations

import doctest
import io
import re

import pytest
from rich.console import Console

from metaft.watch import frame as frames
from metaft.watch.frame import duration, frame
from metaft.watch.state import Looking
from tests.watch.folders import PHASES, choosing, comparing, ended, opened, opening, searching

SAID = {
    opening: [("phase", "opening data and model")],
    opened: [("phase", "what the search begins with")],
    searching: [
        ("phase", "search: 4 trials; 24 % of its budget, at most about 1 min 16 s left"),
        ("best value", "1.5 in trial 2, accuracy 25.0 %"),
        ("search", "40 step equivalents, 24 s"),
    ],
    choosing: [("phase", "search: last choice, 2 evaluations; 24 % of its budget, at most about 1 min 54 s left")],
    comparing: [
        ("phase", "methods: 2 of at most 12 are fitted and evaluated"),
        ("best value", "1.25, what the search has settled on"),
        ("methods", "32 step equivalents, 1 min 2 s"),
        ("last event", "method ft, step 31, loss 0.5342"),
    ],
    ended: [
        ("phase", "ended. zero_shot is handed back: it has the best accuracy on ood_val, 62.5 %."),
        ("autoft failed", "diverged in step 3"),
    ],
}


@pytest.mark.parametrize("phase", PHASES)
def test_what_is_said(phase, tmp_path):
    phase(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    text = frame(state, state.written + 75).text()
    for name, said in [*SAID[phase], ("last written", "1 min 15 s ago")]:
        assert re.search(rf"^{name} +{re.escape(said)}$", text, re.M), text


def test_the_last_trials_with_their_status(tmp_path):
    searching(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    rows = frame(state, state.written).rows
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        *(("0", "2", "ok"), ("1", "-", "diverged")),
        *(("2", "1.5", "ok"), ("3", "1.75", "ok")),
    ]


def test_methods_when_there_are_some(tmp_path):
    comparing(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    assert frame(state, state.written).rows == [
        ["method", "id_test", "OOD mean"],
        ["zero_shot", "50.0", "50.0"],
        ["ft", "80.0", "35.0"],
    ]


@pytest.mark.parametrize("phase", PHASES)
def test_a_terminal_shows_the_same_words(phase, tmp_path):
    phase(tmp_path / "run[red]")  # which rich would take for a colour
    state = Looking(tmp_path / "run[red]").now()
    view, file = frame(state, state.written), io.StringIO()
    Console(file=file, width=300).print(view.rendered())
    shown = file.getvalue()
    assert all(name in shown and text in shown for name, text in view.lines.items())
    assert all(cell in shown for row in view.rows[1:] for cell in row)


def test_a_run_that_writes_nothing_may_have_been_interrupted(tmp_path):
    comparing(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    assert frame(state, state.written + 60).lines["last written"] == "1 min 0 s ago"
    later = frame(state, state.written + 600).lines["last written"]
    assert later.endswith(f"if nothing works at it any more, python -m metaft.run --resume {tmp_path / 'run'} goes on")
    ended(tmp_path / "run")
    state = Looking(tmp_path / "run").now()
    assert frame(state, state.written + 600).lines["last written"] == "10 min 0 s ago"


def test_durations():
    assert doctest.testmod(frames) == (0, 1)
    assert [duration(s) for s in (0.4, 59.6, 3599, 3600, 90000)] == [
        *("0 s", "1 min 0 s", "59 min 59 s"),
        *("1 h 0 min", "25 h 0 min"),
    ]
