"""Paths in settings and flags: none that no file can have."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from metaft import config
from metaft.config.paths import NAME, WHOLE, as_on_disk, named, place
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


COMPOSED, APART = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("there", "typed"), [(APART, COMPOSED), (COMPOSED, APART)])
def test_a_path_is_found_in_whatever_form_it_is_written(tmp_path, there, typed):
    (tmp_path / there / there).mkdir(parents=True)
    (tmp_path / f"{there}.yaml").write_text("seed: 5\n")
    path = tmp_path / typed / typed
    assert as_on_disk(path / "new") == place(f"{path}/new") == tmp_path / there / there / "new"
    assert from_mapping({"data.root": str(path)}).data.root == tmp_path / there / there
    assert from_mapping({"model.pretrained": str(path)}).model.pretrained == str(tmp_path / there / there)
    assert config.load(tmp_path / f"{typed}.yaml").seed == 5
    (tmp_path / typed).mkdir()
    assert as_on_disk(path) == path, "the folder of the very letters comes first"


def test_rows_of_windows_mean_files_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("SET", "far")
    (tmp_path / "far").mkdir()
    for name in ("far/a.png", "far\\b.png", "far/b.png"):
        (tmp_path / name).touch()
    assert named("far\\a.png", tmp_path) == tmp_path / "far" / "a.png"
    assert named("$SET\\a.png", tmp_path) == tmp_path / "far" / "a.png"
    assert named("far\\b.png", tmp_path) == tmp_path / "far\\b.png", "a file whose name has a backslash"
    assert named("far\\c.png", tmp_path) == tmp_path / "far\\c.png", "as it is told"


def test_a_path_that_is_nowhere_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(APART).mkdir()
    assert as_on_disk(Path(COMPOSED) / "x") == Path(APART) / "x"
    for path in (Path("b\u00e9"), Path("/nowhere/b\u00e9"), Path()):
        assert as_on_disk(path) == path
