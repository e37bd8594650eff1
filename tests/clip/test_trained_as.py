"""What files, and what open_clip wrote beside them, say of how weights were trained."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from metaft.clip import trained_as
from metaft.clip.contents import Contents
from metaft.clip.load import load
from metaft.clip.names import TOY
from metaft.errors import CheckpointError
from tests.clip.architectures import added

SMALL = {  # a tower without positional embedding: its weights fit images of any size
    **copy.deepcopy(open_clip.get_model_config(TOY)),
    "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
}


def said(**settings):
    return trained_as.settings(Contents({}, settings), Path("nowhere/checkpoints/epoch_1.pt"))


@pytest.mark.parametrize(
    ("settings", "quick"),
    [
        ({"quick_gelu": "True"}, True),
        ({"args.quick_gelu": "false"}, False),
        ({"config.vision_config.hidden_act": "gelu"}, False),
        ({"config.vision_config.hidden_act": "quick_gelu"}, True),
        ({"args.model": "ViT-B/32-quickgelu"}, True),
        ({"name": "2026_01_31-12_00_00-model_ViT-B-32-quickgelu-lr_0.001-b_64-j_4-p_amp"}, True),
        ({"name": "2026_01_31-12_00_00-model_ViT-B-32-lr_0.001-b_64-j_4-p_amp"}, None),
        ({"args.force_quick_gelu": "False", "args.model": "ViT-B-32"}, None),
        ({"name": "of a person", "activation": "relu"}, None),
    ],
)
def test_activations(settings, quick):
    """A name without QuickGELU does not say GELU: `--force-quick-gelu` may have been given beside it."""
    found = trained_as.activation(Contents({}), said(**settings), {})
    assert (found and found.quick) == quick


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        ({"args.model": "convnext_base_w_320", "args.force_image_size": 256}, 256),
        ({"args.model": "convnext_base_w_320"}, 320),
        ({"args.model": "RN50x4", "args.force_image_size": "None"}, 288),
        ({"image_size": "384"}, 384),
        ({"image_size": 0.875, "model": "mine"}, None),
        ({"image_size": True}, None),
    ],
)
def test_image_sizes(settings, side):
    found = trained_as.image_size(said(**settings))
    assert (found and found.side) == side


def test_what_open_clip_wrote_beside_its_checkpoints(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    params = tmp_path / "params.txt"
    params.write_text("batch_size: 64\nforce_image_size: 96\nforce_quick_gelu: True\nmodel: ViT-B-32\n")
    found = trained_as.settings(Contents({}), tmp_path / "checkpoints" / "epoch_3.pt")
    quick, side = trained_as.activation(Contents({}), found, {}), trained_as.image_size(found)
    assert quick == (True, f"{params} says force_quick_gelu=True")
    assert side == (96, f"{params} says force_image_size=96")
    own = trained_as.settings(Contents({}, {"force_image_size": 32}), tmp_path / "checkpoints" / "epoch_3.pt")
    assert trained_as.image_size(own) == (32, "the file's setting force_image_size=32"), "the file's own word first"
    params.write_text("force_image_size: 96\n")
    assert trained_as.settings(Contents({}), tmp_path / "checkpoints" / "epoch_3.pt") == [], "not of a training"
    params.write_bytes(b"\xff\xfe model: x")
    assert trained_as.settings(Contents({}), tmp_path / "checkpoints" / "epoch_3.pt") == []


def test_another_size_is_refused_where_no_embedding_tells(tmp_path, capsys):
    with added("small", SMALL, tmp_path), added("small-96", with_side(96), tmp_path):
        state = open_clip.create_model("small").state_dict()
        torch.save({"state_dict": state, "args": argparse.Namespace(force_image_size=96)}, tmp_path / "c.pt")
        with pytest.raises(CheckpointError) as caught:
            load("small", str(tmp_path / "c.pt"))
        text = str(caught.value)
        assert "it was trained at image size 96, and the architecture has 64 (the file's setting" in text
        assert "allowed: model.name=small-96 or a checkpoint of 'small', or model.resize=true" in text
        assert load("small-96", str(tmp_path / "c.pt")).view.size == 96
        capsys.readouterr()
        assert load("small", str(tmp_path / "c.pt"), resize=True).view.size == 64
        assert "image size resized from 96 to 64" in capsys.readouterr().err


def test_an_embedding_knows_better_than_a_setting(tmp_path):
    state = open_clip.create_model(TOY).state_dict()
    save_file(state, tmp_path / "c.safetensors", metadata={"image_size": "96"})
    assert load(TOY, str(tmp_path / "c.safetensors")).view.size == 32


def test_texts_in_a_header_count(tmp_path):
    state = open_clip.create_model(TOY).state_dict()
    save_file(state, tmp_path / "c.safetensors", metadata={"quick_gelu": "True"})
    with pytest.raises(CheckpointError, match=r"trained with QuickGELU \(the file's setting quick_gelu=True"):
        load(TOY, str(tmp_path / "c.safetensors"))


@pytest.mark.parametrize(
    ("name", "quick"),
    [
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", True),
        ("ViT-B-32-quickgelu.safetensors", True),
        ("mine_quick_gelu.pt", True),
        ("vit_b_32-laion2b_e16-af8dbd0c.pth", None),
        ("quickgelus.pt", None),
    ],
)
def test_a_files_name_may_say_quickgelu(name, quick):
    found = trained_as.activation(Contents({}), trained_as.settings(Contents({}), Path("nowhere/a") / name), {})
    assert (found and found.quick) == quick
    if quick:
        own = trained_as.settings(Contents({}, {"quick_gelu": False}), Path("nowhere/a") / name)
        assert not trained_as.activation(Contents({}), own, {}).quick, "the file's own word first"


def test_weights_whose_name_says_quickgelu_are_refused_by_another_architecture(tmp_path):
    file = tmp_path / "vit_b_32-quickgelu-laion400m_e32-46683a32.pt"
    torch.save(open_clip.create_model(TOY).state_dict(), file)
    with pytest.raises(CheckpointError, match=r"trained with QuickGELU \(its name, vit_b_32-quickgelu-laion400m"):
        load(TOY, str(file))


def with_side(side: int) -> dict:
    return {**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "image_size": side}}
