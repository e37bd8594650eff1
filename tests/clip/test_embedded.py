"""The embedded models, and where the weights of each pretraining lie."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch

from metaft.clip.embedded import checkpoint
from metaft.clip.export import save
from metaft.clip.load import RANDOM, load
from metaft.clip.names import MID, TOY
from metaft.data.registry import PICTURES
from metaft.errors import CheckpointError


def test_toy_has_weights_and_is_small():
    assert checkpoint(TOY, 0).stat().st_size < 8e6
    assert TOY in open_clip.list_models()


def test_the_larger_embedded_model():
    clip = load(MID, RANDOM)
    width, layers = clip.config["vision_cfg"]["width"], clip.config["vision_cfg"]["layers"]
    assert (clip.view.size, width, layers) == (64, 384, 8)
    images = clip.view.normalise(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert clip.model(images, clip.tokenizer(["a bolt.", "a ring."]))["image_features"].shape == (2, 256)


def test_pretrainings_by_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"seed-7 of toy-clip is not at .*benchmarks/pretrain.py .*--seed 7"):
        load(TOY, "seed-7")
    with pytest.raises(CheckpointError, match="seed-0 of mid-clip is not at"):
        load(MID, None)
    save(load(TOY, RANDOM).model.state_dict(), checkpoint(TOY, 7))
    (made,) = tmp_path.iterdir()
    assert f"suites-{PICTURES}-" in made.name, "no weights of other pictures are found"
    seven, shipped, named = (load(TOY, p).model.state_dict() for p in ("seed-7", "seed-0", None))
    assert not torch.equal(seven["visual.proj"], shipped["visual.proj"])
    assert torch.equal(named["visual.proj"], shipped["visual.proj"])


@pytest.mark.full
@pytest.mark.parametrize("name", [TOY, MID])
def test_pretraining_leaves_weights_that_load(name, tmp_path):
    out = tmp_path / "weights.safetensors"
    command = [sys.executable, "benchmarks/pretrain.py", "--model", name, "--quick", "--out", str(out)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    assert load(name, str(out)).view.size == {TOY: 32, MID: 64}[name]
