"""Every set by name goes through a whole run on its miniature."""

from __future__ import annotations

import json

import pytest

from metaft.predict import main as predict
from metaft.run import main
from tests.conftest import JUDGE, by_default
from tests.data import test_wilds
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


def test_a_run_of_a_set_that_is_published_with_a_name_twice_and_a_picture_in_two_splits(tmp_path, capsys):
    """As iWildCam: its classes are told apart by labels in all that a run leaves, and in what is predicted."""
    folder = test_wilds.iwildcam(tmp_path / "data")
    table, pictures = folder / "categories.csv", folder / "train"
    table.write_text(table.read_text().replace("empty", "ocelot"))
    (pictures / "test-0.jpg").write_bytes((pictures / "val-0.jpg").read_bytes())
    (tmp_path / "templates.txt").write_text("{}\n")
    words = ["data.format=wilds", "data.options.name=iwildcam", f"data.root={tmp_path / 'data'}"]
    words += [f"data.templates={tmp_path / 'templates.txt'}", *SMALL]
    assert main(["--mode", "tpe", "--out", str(tmp_path / "run"), *words]) == 0, capsys.readouterr().err
    assert "class 1 is 'ocelot', as class 0 is" in capsys.readouterr().err
    names = ["ocelot", "ocelot (1)", "cat, wild"]
    assert (tmp_path / "run" / "model" / "classnames.txt").read_text().splitlines() == names
    assert json.loads((tmp_path / "run" / "results.json").read_text())["provenance"]["classes"] == names
    assert "ocelot (1)" in (tmp_path / "run" / "report.html").read_text()
    assert predict([str(tmp_path / "run"), str(pictures / "val-1.jpg"), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [*row["probabilities"]] == names
    assert sum(row["probabilities"].values()) == pytest.approx(1)
