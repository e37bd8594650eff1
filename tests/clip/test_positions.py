"""Positional embeddings of another length: refused, or resized as open_clip does."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from metaft.clip import weights
from metaft.clip.load import load
from metaft.clip.names import TOY
from metaft.clip.positions import misfits, resized
from metaft.errors import CheckpointError
from tests.clip.architectures import added
from tests.clip.test_families import FAMILIES
from tests.clip.test_load import SMALL_RESNET

TOY_CONFIG = open_clip.get_model_config(TOY)


def with_settings(config, tower, **settings):
    config = copy.deepcopy(config)
    config[tower] |= settings
    return config


@pytest.fixture
def larger(tmp_path):
    (tmp_path / "configs").mkdir()
    config = with_settings(TOY_CONFIG, "vision_cfg", image_size=64)
    with added("toy-clip-64", config, tmp_path / "configs"):
        yield open_clip.create_model("toy-clip-64").eval()


def test_another_image_size_is_refused_with_the_name_that_fits(larger, tmp_path):
    torch.save(larger.state_dict(), tmp_path / "c.pt")
    with pytest.raises(CheckpointError) as caught:
        load(TOY, str(tmp_path / "c.pt"))
    text = str(caught.value)
    assert "it was trained at image size 64, and the architecture has 32 (visual.positional_embedding)" in text
    assert "allowed: model.name=toy-clip-64 or a checkpoint of 'toy-clip', or model.resize=true" in text


def test_on_request_it_is_resized_as_by_open_clip(larger, tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(weights, "tell", notes.append)
    torch.save({"model": larger.state_dict()}, tmp_path / "c.pt")
    torch.save(larger.state_dict(), tmp_path / "plain.pt")
    ours = load(TOY, str(tmp_path / "c.pt"), resize=True)
    theirs = open_clip.create_model(TOY, pretrained=str(tmp_path / "plain.pt")).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.model.state_dict().items())
    assert ours.view.size == 32
    assert notes == [f"{tmp_path / 'c.pt'}: undone: 'model'; image size resized from 64 to 32"]


def test_another_context_length(tmp_path):
    longer = with_settings(TOY_CONFIG, "text_cfg", context_length=TOY_CONFIG["text_cfg"]["context_length"] + 7)
    with added("toy-long", longer, tmp_path):
        torch.save(open_clip.create_model("toy-long").state_dict(), tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match=r"trained at context length \d+, .*allowed: model\.name=toy-long"):
            load(TOY, str(tmp_path / "c.pt"))
        ours = load(TOY, str(tmp_path / "c.pt"), resize=True).model
        theirs = open_clip.create_model(TOY, pretrained=str(tmp_path / "c.pt"))
        assert torch.equal(ours.positional_embedding, theirs.positional_embedding)


def test_a_resnets_pooling_is_resized_too(tmp_path):
    with (
        added("small-resnet", SMALL_RESNET, tmp_path),
        added("small-resnet-64", with_settings(SMALL_RESNET, "vision_cfg", image_size=64), tmp_path),
    ):
        torch.save(open_clip.create_model("small-resnet-64").state_dict(), tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match=r"image size 64, .*has 32 .*allowed: model\.name=small-resnet-64"):
            load("small-resnet", str(tmp_path / "c.pt"))
        assert load("small-resnet", str(tmp_path / "c.pt"), resize=True).view.size == 32


@pytest.mark.parametrize("embedding", ["pos_embed", "no grid"])
def test_timms_embeddings(embedding, tmp_path):
    config = FAMILIES["timm"]
    with added("small-timm", config, tmp_path):
        model = open_clip.create_model("small-timm")
        grown = resample_abs_pos_embed(model.visual.trunk.pos_embed.detach(), [12, 12])
        state = {**model.state_dict(), "visual.trunk.pos_embed": grown}
        if embedding == "no grid":
            model.visual.trunk.patch_embed.grid_size = None
            assert misfits(state, model) == []
            return
        torch.save(state, tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match="trained at image size 192, and the architecture has 160"):
            load("small-timm", str(tmp_path / "c.pt"))
        changed = load("small-timm", str(tmp_path / "c.pt"), resize=True).model.visual.trunk.pos_embed
        torch.testing.assert_close(changed.detach(), resample_abs_pos_embed(grown, [10, 10]))


def test_a_constant_embedding_stays_constant(larger):
    small = open_clip.create_model(TOY)
    state = dict(larger.state_dict())
    state["visual.positional_embedding"] = torch.full_like(state["visual.positional_embedding"], 0.5)
    changed = resized(state, small)["visual.positional_embedding"]
    torch.testing.assert_close(changed, torch.full_like(small.visual.positional_embedding, 0.5))
    assert misfits({**state, "visual.positional_embedding": changed}, small) == []


def test_an_embedding_that_is_no_square_is_of_another_architecture(larger, tmp_path):
    state = {**larger.state_dict(), "visual.positional_embedding": torch.zeros(8, 96)}
    torch.save(state, tmp_path / "c.pt")
    for resize in (False, True):
        with pytest.raises(CheckpointError, match=r"other shapes: visual.positional_embedding \[8, 96\]"):
            load(TOY, str(tmp_path / "c.pt"), resize=resize)
