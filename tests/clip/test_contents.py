"""Tensors, settings and classes by dotted name, however deep they lie."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

from metaft.clip import contents
from metaft.clip.contents import contents_of, described
from metaft.clip.inert import load


def read_back(found):
    return contents_of(load(io.BytesIO(pickle.dumps(found))))


def test_modules_count_as_their_state_dict():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3), nn.GELU())
    model.register_buffer("passing", torch.ones(2), persistent=False)
    model.register_buffer("kept", torch.ones(2))
    found = read_back({"net": model, "lr": 0.1, 3: torch.zeros(1)})
    expected = {f"net.{name}": tensor for name, tensor in model.state_dict().items()}
    assert found.tensors.keys() == {*expected, "3"}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.items())
    assert "torch.nn.modules.activation.GELU" in found.classes
    assert found.settings["lr"] == 0.1


def test_objects_within_themselves_end():
    endless: dict = {"a": torch.ones(1)}
    endless["self"] = endless
    assert contents_of(endless).tensors.keys() == {"a"}


def test_objects_that_unfold_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(contents, "MOST_ENTRIES", 1000)
    for bomb in ([torch.ones(1)], []):
        for _ in range(12):
            bomb = [bomb, bomb]
        with pytest.raises(ValueError, match="one object that unfolds to more than 1,000 entries"):
            contents_of(bomb)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "an empty dict"),
        (OrderedDict(a=1, b=2, c=3, d=4), "a dict of 4 entries ('a', 'b', 'c', ...)"),
        ([torch.ones(1)] * 2, "a list of 2 tensors without names"),
        ((1, torch.ones(1)), "a tuple of 2 items without names"),
        (torch.ones(2, 3), "one tensor [2, 3] without a name"),
        (None, "None (NoneType)"),
    ],
)
def test_descriptions(found, words):
    assert described(found) == words
