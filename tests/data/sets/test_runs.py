"""Every set by name goes through a whole run on its miniature."""

from __future__ import annotations

import json

import pytest

from metaft.run import main
from tests.conftest import JUDGE, by_default
from tests.data.sets.miniatures import MAKERS

SMALL = (
    *JUDGE,
    *("inner.steps=2", "inner.batch_size=8", "search.trials=2", "search.candidates=1", "finetune.epochs=1"),
    *("evaluation.bootstrap=100", "evaluation.methods=[zero_shot,autoft]", "data.options.ood_val=20"),
)


@pytest.mark.parametrize("name", by_default(("cifar10",), MAKERS))
def test_a_run(name, tmp_path, capsys):
    MAKERS[name](tmp_path / "data")
    short = tmp_path / "templates.txt"
    short.write_text("{}\n")  # the toy model reads few words
    words = [f"data.format={name}", f"data.root={tmp_path / 'data'}", f"data.templates={short}", *SMALL]
    assert main(["--mode", "tpe", "--out", str(tmp_path / "run"), "--quiet", *words]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["provenance"]["suite"] == {"format": name, "version": None}
    scores = results["methods"]["autoft"]
    assert "id_test" in scores
    assert all(0 <= score["accuracy"] <= 1 for score in scores.values())
