"""Progress: bars where a terminal looks on, silence elsewhere and with --quiet; warnings always."""

from __future__ import annotations

import sys

import pytest

from metaft import progress
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.random import Uniform
from metaft.search.solvers.blackbox import BlackBoxSolver
from tests.search.problems import Bowl


@pytest.fixture
def terminal(capsys, monkeypatch):
    """A standard error that says it is a terminal (pytest lays its own anew for each phase of a test)."""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)


def show(capsys) -> str:
    with progress.bar("training", total=10) as shown:
        shown.update(4)
        shown.set_postfix_str("best 0.5")
        shown.refresh()
    list(progress.track(range(3), "evaluating", total=3))
    progress.note("some news")
    progress.warn("mind this")
    return capsys.readouterr().err


def test_on_a_terminal(terminal, capsys):
    err = show(capsys)
    for words in ("training", "40%", "best 0.5", "evaluating", "some news", "warning: mind this"):
        assert words in err
    assert "<" in err, "the time left"


def test_elsewhere(capsys):
    assert show(capsys) == "warning: mind this\n"


def test_elsewhere_a_line_a_minute(capsys, monkeypatch):
    """However many bars there are, and in full lines; with --quiet none."""
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress, "_told", now)
    monkeypatch.setattr(progress, "MINUTE", 60.0)
    with progress.bar("training", total=100) as shown:
        shown.set_postfix_str("best 0.5")
        for _ in range(100):
            now += 3.0
            shown.update()
            shown.refresh()
            list(progress.track(range(2), "evaluating", total=2))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5, "in 300 seconds"
    assert all(line.startswith(("training:", "evaluating:")) for line in lines)
    assert any("| 20/100 [" in line and "best 0.5" in line for line in lines)
    progress.be_quiet()
    try:
        now += 100.0
        list(progress.track(range(2), "evaluating", total=2))
    finally:
        progress.be_quiet(False)
    assert capsys.readouterr().err == ""


def test_quiet(terminal, capsys):
    progress.be_quiet()
    try:
        assert show(capsys) == "warning: mind this\n"
    finally:
        progress.be_quiet(False)


def test_a_search_tells_its_best_value(terminal, capsys):
    BlackBoxSolver(Uniform).solve(Bowl(), Budget(trials=5), Journal())
    err = capsys.readouterr().err
    assert "search" in err
    assert "5 trials, best 0." in err


def test_warnings_are_heard_once_each_and_by_the_innermost(capsys):
    with progress.heard() as outer:
        progress.warn("one")
        with progress.heard() as inner:
            progress.warn("two")
            progress.warn("two")
        progress.warn("three")
    progress.warn("four")
    assert (outer, inner) == (["one", "three"], ["two"])
    assert capsys.readouterr().err.count("two") == 2, "they are printed all the same"
