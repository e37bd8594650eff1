"""The settings that the package ships for a person's own data go through whole runs on miniatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaft.run import main
from tests.conftest import JUDGE
from tests.data import test_csv, test_hf, test_webdataset

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SMALL = (
    *JUDGE,
    *("inner.steps=2", "inner.batch_size=8", "search.trials=5", "search.candidates=1", "finetune.epochs=1"),
    *("evaluation.bootstrap=100", "evaluation.methods=[zero_shot,autoft]"),
)


def csv(root: Path, pictures: Path) -> Path:
    """One table, as the settings' own comment shows it: with domains, and without groups."""
    lines = test_csv.table(pictures).splitlines()
    rows = [f"{line},{'noon' if number % 3 else 'haze'}" for number, line in enumerate(lines[1:])]
    (pictures / "pictures.csv").write_text("\n".join([f"{lines[0]},domain", *rows, ""]))
    return pictures


def webdataset(root: Path, pictures: Path) -> Path:
    """Sets of CLIP_benchmark with their own numbers, one of some of the classes."""
    parts = {
        "wds_imagenet1k/train": ("id_train", (0, 1)),
        "wds_imagenet1k/test": ("id_test", (0, 1)),
        "wds_imagenetv2/test": ("ood_val", (0, 1)),
        "wds_imagenet_sketch/test": ("ood_test/dusk", (0, 1)),
        "wds_imagenet-r/test": ("ood_test/dawn", (1, 0)),
    }
    for place, (split, labels) in parts.items():
        test_webdataset.write(root / place, test_webdataset.samples_of(pictures / split, labels))
        names = ("dark square", "light square") if labels == (0, 1) else ("light square", "dark square")
        (root / place).with_name("classnames.txt").write_text("\n".join([*names, ""]))
        (root / place).with_name("zeroshot_classification_templates.txt").write_text("a {c}.\n")
    return root


def hf(root: Path, pictures: Path) -> Path:
    """What `save_to_disk` wrote."""
    pytest.importorskip("datasets").disable_progress_bars()
    return test_hf.saved(root, pictures)


@pytest.mark.full
@pytest.mark.parametrize("make", [csv, webdataset, hf])
def test_settings_for_ones_own_data_make_a_run(make, picture_tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    root, out = make(tmp_path / "sets", picture_tree), tmp_path / "run"
    config = CONFIGS / f"{make.__name__}.yaml"
    words = ["--config", str(config), "--out", str(out), "--quiet", f"data.root={root}", *SMALL]
    assert main(["--mode", "hypergrad", *words]) == 0, capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert results["provenance"]["classes"] == ["dark square", "light square"]
    tests = {"sketch", "r"} if make is webdataset else {"dusk", "dawn"}
    assert {*results["methods"]["autoft"]} == {"id_test", *(f"ood_test/{name}" for name in tests)}
