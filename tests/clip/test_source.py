"""Which file a model's name and `pretrained` mean."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from metaft.clip import hub
from metaft.clip.embedded import checkpoint
from metaft.clip.load import RANDOM, load
from metaft.clip.names import TOY
from metaft.clip.source import weights_file
from metaft.errors import CheckpointError


@pytest.fixture
def folder(tmp_path):
    """A folder that `local-dir:` opens, with the toy's weights."""
    model = open_clip.create_model(TOY, pretrained=str(checkpoint(TOY, 0)))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(TOY), "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_folder_a_file_beside_its_configuration_and_random_weights(folder):
    name = f"local-dir:{folder}"
    found = load(name, None)
    assert found.view.mean == (0.1, 0.2, 0.3)
    ones = {key: torch.ones_like(t) for key, t in found.model.state_dict().items()}
    torch.save({"model": ones}, folder / "mine.pt")
    assert torch.equal(load(name, str(folder / "mine.pt")).model.visual.proj, ones["visual.proj"])
    drawn = load(name, RANDOM).model.visual.proj
    assert not torch.equal(drawn, found.model.visual.proj)


def test_a_file_in_a_folder_that_may_not_be_entered(monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    words = r"model\.pretrained: '/closed/c\.pt': Permission denied; allowed: a file in a folder that may be entered"
    with pytest.raises(CheckpointError, match=words):
        weights_file(TOY, "/closed/c.pt")


def test_faults_of_a_folder(folder, tmp_path):
    name = f"local-dir:{folder}"
    (folder / "open_clip_model.safetensors").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"open_clip_model\.safetensors' cannot be loaded: it is an HTML page"):
        load(name, None)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights in"):
        load(name, None)
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        load(name, None)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no open_clip_config\.json in"):
        load(name, None)
    with pytest.raises(CheckpointError, match=r"no open_clip_config\.json in"):
        load("local-dir:/no/such/folder", None)


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        ("ViT-B-32", "opnai", r"neither a file nor a tag of 'ViT-B-32'.*Did you mean 'openai'\?"),
        ("ViT-B-32", "a" * 5000, "neither a file nor a tag"),
        (TOY, "~nobody-at-all/c.pt", "allowed: an existing file or 'random'"),
        ("local-dir:.", "openai", r"no open_clip_config\.json in '\.'"),
        ("gopher:x", None, "allowed: an architecture, local-dir:FOLDER, hf-hub:REPOSITORY"),
        ("hf-hub:nobody/nothing", None, "has no configuration that can be had"),
    ],
)
def test_names_that_mean_nothing(name, pretrained, words, monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: False)
    with pytest.raises(CheckpointError, match=words):
        load(name, pretrained)


def test_a_link_to_nowhere(tmp_path):
    (tmp_path / "a.pt").symlink_to("gone.pt")
    with pytest.raises(CheckpointError, match=r"is a link to 'gone\.pt', where nothing can be found; allowed"):
        load(TOY, str(tmp_path / "a.pt"))


def test_a_folder_as_file(folder):
    with pytest.raises(CheckpointError, match=r"it is a folder \(model\.name=local-dir:"):
        load(TOY, str(folder))


def test_a_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "open_clip_config.json").unlink()
    assert load(TOY, "~/open_clip_model.safetensors").view.size == 32
