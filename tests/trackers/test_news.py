"""The lines of a run's files as numbers, each told once, in whatever pieces they come."""

from __future__ import annotations

import doctest
import math

import pytest

from metaft.search.journal import PLACE
from metaft.trackers import news
from metaft.trackers.news import News, Reader, objects
from tests.watch.folders import comparing, journal, opened

EVENTS = [
    '{"method": "ft", "step": 31, "loss": 0.5, "id_val_accuracy": 0.75}',
    '{"method": "ft_ood_val", "weight": 0.3, "lr_factor": 1, "chosen": false, "candidate": "ft"}',
    '{"method": "ft_ood_val", "weight": 3.0, "lr_factor": null}',
    '{"method": "ft", "step": 62, "loss": 0.25, "knobs": {"a": {"b": 2}}}',
    '{"method": "ft", "drift": {"weights": {"all": 0.125}, "features": {"ood_val": 0.5}}}',
]
TOLD = [
    News("ft", 31, {"loss": 0.5, "id_val_accuracy": 0.75}),
    News("ft_ood_val.events", 0, {"weight": 0.3, "lr_factor": 1.0}),
    News("ft_ood_val.events", 1, {"weight": 3.0}),
    News("ft", 62, {"loss": 0.25, "knobs.a.b": 2.0}),
    News("ft.events", 0, {"drift.weights.all": 0.125, "drift.features.ood_val": 0.5}),
]


def test_events(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("\n".join(EVENTS) + "\n")
    reader = Reader(tmp_path)
    assert list(reader.news()) == TOLD
    assert list(reader.news()) == []


@pytest.mark.parametrize("size", [1, 7, 64])
def test_events_in_pieces(tmp_path, size):
    whole, path, reader, told = ("\n".join(EVENTS) + "\n").encode(), tmp_path / "metrics.jsonl", Reader(tmp_path), []
    for end in range(0, len(whole) + size, size):
        path.write_bytes(whole[:end])
        told += reader.news()
    assert told == TOLD


def test_trials_with_the_best_so_far(tmp_path):
    reader = Reader(tmp_path)
    assert list(reader.news()) == []
    opened(tmp_path)
    journal(tmp_path, finals=2)
    told = list(reader.news())
    assert [(n.part, n.step) for n in told] == [("search", number) for number in range(4)]
    assert [n.values.get("value", math.inf) for n in told] == [2.0, math.inf, 1.5, 1.75]
    assert [n.values["best"] for n in told] == [2.0, 2.0, 1.5, 1.5]
    assert told[3].values["clock"] == 24.0
    assert told[3].values["step_equivalents"] == 10.0


def test_what_is_no_object_is_left_out():
    assert list(objects([b"7", b"[]", b"nonsense", b"NaN", b"\xff", b'{"a": 1}'])) == [{"a": 1}]


def test_nothing_is_written(tmp_path):
    comparing(tmp_path / "run")
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    assert len(list(Reader(tmp_path / "run").news())) == 5
    assert before == {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    assert (tmp_path / "run" / PLACE) in before


def test_the_example_runs():
    assert doctest.testmod(news) == (0, 1)
