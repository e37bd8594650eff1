"""Checkpoints and exported folders, opened by open_clip."""

from __future__ import annotations

import copy
import runpy

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from metaft.clip.export import export, restore, save
from metaft.clip.load import load
from metaft.clip.names import TOY
from metaft.errors import CheckpointError


def test_export_opens_with_open_clip_and_gives_the_same_logits(work, tmp_path):
    tuned = copy.deepcopy(work.classifier)
    with torch.no_grad():
        for p in tuned.parameters():
            p.add_(0.01 * torch.randn_like(p))
    export(tuned, work.clip, work.splits.classes.names, tmp_path / "model")
    images = work.splits.id_train.batch(torch.arange(16)).images
    head = load_file(tmp_path / "model" / "head.safetensors")
    file = str(tmp_path / "model" / "open_clip_model.safetensors")
    scope = runpy.run_path(str(tmp_path / "model" / "load.py"))
    with torch.no_grad():
        expected = tuned(images).logits
        for model in (open_clip.create_model(TOY, pretrained=file).eval(), scope["model"]):
            logits = model.encode_image(images, normalize=True) @ head["weight"].T + head["bias"]
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(scope["logits"](images), expected, rtol=0, atol=1e-5)
    again = load(f"local-dir:{tmp_path / 'model'}", None)
    assert torch.equal(again.model.visual.proj, tuned.clip.visual.proj)
    assert again.view.mean == work.clip.view.mean
    assert scope["classnames"] == list(work.splits.classes.names)


def test_checkpoints_go_there_and_back(work, tmp_path):
    save(work.classifier.state_dict(), tmp_path / "c.safetensors")
    other = copy.deepcopy(work.classifier)
    with torch.no_grad():
        other.head.weight.zero_()
    assert torch.equal(restore(other, tmp_path / "c.safetensors").head.weight, work.classifier.head.weight)
    with pytest.raises(CheckpointError, match="allowed"):
        restore(other, tmp_path / "absent.safetensors")
