"""Paths in settings and flags: none that no file can have."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from metaft import config
from metaft.config.paths import NAME, WHOLE, place
from metaft.config.read import from_mapping
from metaft.errors import ConfigError

SETTINGS = ("out", "data.root", "data.classnames", "data.templates", "model.name", "model.pretrained")
IMPOSSIBLE = ("a\0b", "~\0", "a" * (NAME + 1), "\u00e9" * (NAME // 2 + 1), "a/" * WHOLE, "local-dir:~\0")


@pytest.mark.parametrize("text", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
@pytest.mark.parametrize("key", [*SETTINGS, "search.warm_start"])
def test_impossible_paths_are_faults_of_their_setting(key, text):
    with pytest.raises(ConfigError, match="allowed: a path, not one") as caught:
        from_mapping({key: text})
    assert [fault.field for fault in caught.value.faults] == [key]


@pytest.mark.parametrize("text", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_impossible_paths_are_faults_of_their_flag(text):
    with pytest.raises(ArgumentTypeError, match="allowed: a path"):
        place(text)


def test_what_a_variable_holds_counts(monkeypatch):
    monkeypatch.setenv("LONG", "a" * (NAME + 1))
    with pytest.raises(ConfigError, match="a name of more than 255 bytes"):
        config.load(None, ["data.root=$LONG"])


def test_the_longest_paths_are_paths():
    text = "/".join(["a" * NAME] * 7)
    assert place(text) == Path(text)
    assert from_mapping({"data.root": text}).data.root == Path(text)
