"""Hugging Face's names, by an inverse of its own and by transformers itself."""

from __future__ import annotations

import json
import re

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from metaft.clip import weights
from metaft.clip.embedded import checkpoint
from metaft.clip.huggingface import translated
from metaft.clip.load import load
from metaft.clip.names import TOY
from metaft.errors import CheckpointError
from tests.clip.architectures import added
from tests.clip.wrapped import prefixed

INVERSE = [
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
]


def hugging_face(state):
    """The names that `CLIPModel` would give these weights."""
    result = {
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
        "text_model.embeddings.position_ids": torch.arange(5)[None],
    }
    for name, tensor in state.items():
        new = name
        for pattern, replacement in INVERSE:
            new = re.sub(pattern, replacement, new)
        if ".attn.in_proj_" in new:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                key = re.sub(r"\.attn\.in_proj_(weight|bias)", rf".self_attn.{letter}_proj.\1", new)
                result[key] = part.contiguous()
        else:
            result[new] = tensor.T.contiguous() if name in ("visual.proj", "text_projection") else tensor
    return result


@pytest.fixture(scope="module")
def toy():
    return open_clip.create_model(TOY, pretrained=str(checkpoint(TOY, 0))).eval()


@pytest.mark.parametrize("prefix", ["", "model.", "clip."])
def test_the_weights_come_back(prefix, toy, tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(weights, "tell", notes.append)
    save_file(prefixed(hugging_face(toy.state_dict()), prefix), tmp_path / "model.safetensors")
    loaded = load(TOY, str(tmp_path / "model.safetensors")).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in toy.state_dict().items())
    assert "Hugging Face names" in notes[0]


def test_names_that_are_incomplete_stay_and_are_shown(toy, tmp_path):
    state = hugging_face(toy.state_dict())
    del state["vision_model.encoder.layers.0.self_attn.k_proj.weight"]
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError) as caught:
        load(TOY, str(tmp_path / "c.pt"))
    text = str(caught.value)
    assert "under Hugging Face names" in text
    assert "1 missing (visual.transformer.resblocks.0.attn.in_proj_weight)" in text
    assert "2 unexpected (vision_model.encoder.layers.0.self_attn.q_proj.weight" in text


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_the_activation_that_its_configuration_names(act, toy, tmp_path):
    save_file(hugging_face(toy.state_dict()), tmp_path / "model.safetensors")
    towers = {} if act == "quick_gelu" else {"hidden_act": act}  # newer files leave defaults out
    config = {"model_type": "clip", "text_config": towers, "vision_config": towers}
    (tmp_path / "config.json").write_text(json.dumps(config))
    quick = {**open_clip.get_model_config(TOY), "quick_gelu": True}
    with added("toy-quickgelu", quick, tmp_path):
        right, wrong = (TOY, "toy-quickgelu") if act == "gelu" else ("toy-quickgelu", TOY)
        load(right, str(tmp_path / "model.safetensors"))
        with pytest.raises(CheckpointError, match=rf"hidden_act={act}.*allowed: model\.name={right}"):
            load(wrong, str(tmp_path / "model.safetensors"))


def test_transformers_gives_the_same_features(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "hidden_act": "gelu"}
    theirs = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**size, "num_attention_heads": 4, "vocab_size": 49408, "eos_token_id": 49407},
            vision_config={**size, "num_attention_heads": 4, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
    }
    images, words = torch.randn(2, 3, 32, 32), ["a cat", "two dogs on a sofa"]
    with added("small-vit", ours, tmp_path), torch.no_grad():
        clip = load("small-vit", str(tmp_path / "model.safetensors"))
        tokens = clip.tokenizer(words)
        expected = theirs(input_ids=tokens, pixel_values=images)
        out = clip.model(images, tokens)
    torch.testing.assert_close(out["image_features"], expected.image_embeds, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out["text_features"], expected.text_embeds, rtol=1e-5, atol=1e-6)


def test_foreign_names_stay():
    state = {"a.self_attn.q_proj.weight": torch.ones(1), "vision_model.head.probe": torch.ones(1)}
    assert translated(state).keys() == state.keys()
