"""Python's values as plain ones, or a ValueError."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from metaft.config.plain import plain
from metaft.config.read import from_mapping
from metaft.errors import ConfigError

ROUND: dict[str, object] = {}
ROUND["again"] = [ROUND]


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array(["kd", "ce"]), ["kd", "ce"]),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        ((1, (2,)), [1, [2]]),
        (Path("a/b"), "a/b"),
        ({1: {"a": None}}, {"1": {"a": None}}),
    ],
)
def test_what_is_plain(value, made):
    found = plain(value)
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *(({1}, "a set"), (b"x", "a bytes"), (1j, "a complex"), (int, "a type"), (range(3), "a range")),
        *((datetime.date(2024, 1, 1), "a date"), (np.array([object()]), "an object|a object")),
        *((ROUND, "holding itself"), (10**5000, "digits"), ("\ud800", "not UTF-8"), ([1] * 10**5, "values")),
        *(({None: 1}, "a key that is no text, None"), ({True: 1}, "a key"), ({"\udcff": 1}, "not UTF-8")),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_what_is_not(value, words):
    with pytest.raises(ValueError, match=words):
        plain(value)
    with pytest.raises(ConfigError, match=words) as caught:
        from_mapping({"data.options": value, "inner": {"steps": 0}})
    assert {fault.field for fault in caught.value.faults} >= {"inner.steps"}


def test_settings_of_numpy_are_settings():
    cfg = from_mapping({"inner.steps": np.int64(3), "finetune": {"lr": np.float64(1e-3)}, "objective.terms": ("kd",)})
    assert (cfg.inner.steps, cfg.finetune.lr, cfg.objective.terms) == (3, 1e-3, ("kd",))
