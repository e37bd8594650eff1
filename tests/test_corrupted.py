"""Runs of data without OOD validation: from settings and from objects."""

from __future__ import annotations

from shutil import rmtree

import pytest

import metaft
from metaft import config
from metaft.errors import ConfigError, DataError
from metaft.run import main
from tests.test_api import CLASSES, Squares, toy  # noqa: F401 (a fixture)

SMALL = {"inner.steps": 2, "inner.batch_size": 8, "search.trials": 2, "search.candidates": 1, "finetune.epochs": 1}
WAYS = {"data.corruptions": ["fog", "contrast", "jpeg_compression", "shot_noise"], "data.corrupted": 8}


@pytest.mark.full
def test_from_settings(picture_tree, tmp_path, monkeypatch, capsys):
    rmtree(picture_tree / "ood_val")
    monkeypatch.chdir(tmp_path)
    data = {"data.format": "folder", "data.root": str(picture_tree)}
    words = [f"{key}={value}" for key, value in {**data, **WAYS, **SMALL}.items()]
    assert config.load(None, words).data.corruptions == tuple(WAYS["data.corruptions"])
    assert main(["--mode", "tpe", "--dry-run", *words]) == 0
    shown = capsys.readouterr().out
    assert "| ood_val       |      8 |    4 to 4 |" in shown
    assert "| id_train      |     12 |    6 to 6 |" in shown
    found = metaft.search({**data, **WAYS, **SMALL}, mode="tpe")
    assert len(found.trials) == 2
    assert main(["--mode", "tpe", "--dry-run", *words, "data.corruptions=[fogg]"]) == 2
    assert "Did you mean 'fog'?" in capsys.readouterr().err


@pytest.mark.full
def test_from_objects(toy):  # noqa: F811
    splits = {"id_train": Squares(24, 0), "id_val": Squares(8, 1)}
    own = {"model": toy["model"], "tokenizer": toy["tokenizer"], "classnames": CLASSES, "splits": splits}
    found = metaft.search({**SMALL, **WAYS}, mode="tpe", **own)
    assert len(found.trials) == 2
    with pytest.raises(DataError, match="id_train is of floats; allowed: PIL images without preprocess, or uint8"):
        metaft.search({**SMALL, **WAYS}, mode="tpe", **own, preprocess=toy["preprocess"])
    with pytest.raises(ConfigError, match=r"splits\['ood_val'\]: missing"):
        metaft.search(SMALL, mode="tpe", **own)
    with pytest.raises(ConfigError, match=r"one of them, or only corruptions, severity, corrupted, workers under data"):
        metaft.search({**SMALL, **WAYS, "data.ground": "black"}, mode="tpe", **own)
