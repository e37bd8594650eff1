"""Checkpoints and exported folders, opened by open_clip."""

from __future__ import annotations

import copy
import runpy
import subprocess

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from metaft.clip.export import export, exported, moved, restored, save
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


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "head.safetensors", "classnames.txt"])
def test_an_exported_file_that_was_changed_is_named(work, tmp_path, name):
    folder = tmp_path / "model"
    export(work.classifier, work.clip, work.splits.classes.names, folder)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert exported(folder)[2] == work.splits.classes.names
    changed = bytearray((folder / name).read_bytes())
    changed[-2] ^= 1
    (folder / name).write_bytes(changed)
    with pytest.raises(CheckpointError, match=f"{name}: its checksum is not that in SHA256SUMS; allowed: as metaft"):
        exported(folder)
    (folder / "SHA256SUMS").write_bytes(b"\xfftorn\n\n")
    assert exported(folder)[2], "no checksums, as in others' folders"


def test_what_moved_goes_there_and_back(work, tmp_path):
    """What did not is neither written nor in memory twice."""
    theta_0, model, path = work.classifier, copy.deepcopy(work.classifier), tmp_path / "c.safetensors"
    with torch.no_grad():
        model.head.weight.zero_()
        model.clip.visual.proj[0, 0] += 1
    save(moved(model, theta_0), path)
    assert load_file(path).keys() == {"head.weight", "clip.visual.proj"}
    again = restored(theta_0, path)
    for name, p in again.named_parameters():
        assert torch.equal(p, model.get_parameter(name)), name
    assert again.clip.visual.conv1.weight is theta_0.clip.visual.conv1.weight
    save(moved(theta_0, theta_0), path)
    assert all(p is theta_0.get_parameter(name) for name, p in restored(theta_0, path).named_parameters())


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        (None, "absent"),
        ({"head.weihgt": torch.zeros(3)}, r"head\.weihgt \[3\] of torch\.float32; allowed: parameters of this run's"),
        ({"head.bias": torch.zeros(2, 3)}, r"head\.bias \[2, 3\] of torch\.float32"),
        ({"head.bias": torch.zeros(12, dtype=torch.float16)}, r"head\.bias \[12\] of torch\.float16"),
    ],
)
def test_what_is_not_of_the_classifier_is_refused(work, tmp_path, tensors, found):
    if tensors is not None:
        save(tensors, tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=found):
        restored(work.classifier, tmp_path / "absent.safetensors")


@pytest.mark.parametrize("moved", [False, True])
def test_a_head_of_the_text_tower_is_the_classifier_where_that_did_not_move(work, tmp_path, moved):
    """Built by open_clip from the exported model; where the head was trained, the folder and load.py tell of it."""
    classifier, classes = copy.deepcopy(work.classifier), work.splits.classes
    with torch.no_grad():
        classifier.head.weight.mul_(1.5 if moved else 1.0)
    export(classifier, work.clip, classes.names, tmp_path / "model")
    opened, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    opened.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")
    templates = [template.format for template in classes.templates]
    images = work.splits.id_train.batch(torch.arange(16)).images
    with torch.no_grad():
        head = open_clip.build_zero_shot_classifier(opened, tokenizer, classes.names, templates)
        logits = opened.logit_scale.exp() * opened.encode_image(images, normalize=True) @ head
        expected = classifier(images).logits
    assert torch.allclose(logits, expected, atol=1e-4) != moved
    for name in ("README.md", "load.py"):
        assert "another one where the head was trained" in (tmp_path / "model" / name).read_text()
