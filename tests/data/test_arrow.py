"""What is known of tables without the package that reads them."""

from __future__ import annotations

import sys

import pytest

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.arrow import splits_in
from metaft.errors import ConfigError, DataError
from tests.data.test_folder import VIEW


def test_the_package_is_named_where_it_is_missing(picture_tree, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (nowhere, missing) = registry.faults(DataConfig(format="hf"))
    assert nowhere.field == "data.root"
    said = 'data.format: hf, and no package datasets; allowed: another format; or pip install "metaft[hf]".'
    assert str(missing) == said
    data = DataConfig(format="hf", root=picture_tree, options={"ood_test": {"dusk": "dusk"}})
    assert registry.faults(data) == [missing]
    with pytest.raises(ConfigError) as caught:
        registry.load(data, 0, VIEW)
    assert caught.value.faults == (missing,)


def test_the_splits_in_a_folder(tmp_path):
    files = (
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/a.b-00000-of-00001-1f.parquet",
    )
    for name in (
        *files,
        "data/._x.parquet",
        "saved/state.json",
        "of_files/0000.parquet",
        "of_files/0001.parquet",
        "no/a",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert splits_in(tmp_path) == ["a.b", "of_files", "saved", "train"]


def test_names_of_splits_do_not_break_their_line(tmp_path):
    (tmp_path / "ood_test_a\u2028b.parquet").touch()
    with pytest.raises(DataError, match="allowed: plain text in UTF-8"):
        splits_in(tmp_path)
