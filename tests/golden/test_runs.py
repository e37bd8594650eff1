"""Whole runs give the trials, objectives and metrics that runs.json keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden.runs import FILE, RUNS, machine, played

KEPT = json.loads(FILE.read_text())
TOLERANCE = 1e-9


def differences(kept: Any, now: Any, where: str = "") -> Iterator[str]:
    """Where two documents differ, numbers by more than the tolerance."""
    if isinstance(kept, dict) and isinstance(now, dict) and set(kept) == set(now):
        for key in kept:
            yield from differences(kept[key], now[key], f"{where}.{key}")
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        for i, (one, other) in enumerate(zip(kept, now, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif isinstance(kept, float) and isinstance(now, float | int):
        if not math.isclose(kept, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{where}: {kept!r} then, {now!r} now"
    elif kept != now:
        yield f"{where}: {kept!r} then, {now!r} now"


def numberless(document: Any) -> Any:
    """A document with 0 for each number: what holds on any processor, so that no file grows old unseen."""
    if isinstance(document, dict):
        return {key: numberless(value) for key, value in document.items()}
    if isinstance(document, list):
        return [numberless(value) for value in document]
    return 0 if isinstance(document, int | float) else document


def test_a_difference_is_seen():
    assert list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-12, 2]})) == []
    assert len(list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-8, 3]}))) == 2
    assert len(list(differences({"a": 1}, {"b": 1}))) == 1
    assert list(differences(numberless({"a": [1.0, "x"]}), numberless({"a": [2, "x"]}))) == []
    assert len(list(differences(numberless({"a": [1.0]}), numberless({"a": [1.0, 2.0]})))) == 1
    assert set(KEPT["runs"]) == set(RUNS)


@pytest.mark.full
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_what_it_was(name):
    now = json.loads(json.dumps(played(RUNS[name])))
    assert list(differences(numberless(KEPT["runs"][name]), numberless(now))) == []
    if machine() != KEPT["machine"]:
        pytest.skip(f"the last digits are those of {KEPT['machine']}")
    assert list(differences(KEPT["runs"][name], now))[:5] == []
