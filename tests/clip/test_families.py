"""Families of models: those that give what a classifier needs load, and others are refused by name."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch

from metaft.clip import hub
from metaft.clip.classifier import trainable, zero_shot
from metaft.clip.export import export
from metaft.clip.families import contrastive
from metaft.clip.given import clip_of
from metaft.clip.load import RANDOM, load
from metaft.clip.names import TOY
from metaft.data.types import Classes
from metaft.errors import CheckpointError, ConfigError
from tests.clip.architectures import added

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
COCA = {
    "embed_dim": 16,
    "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
    "custom_text": True,
}
FAMILIES = {
    "vit": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT},
    "custom text": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT, "custom_text": True},
    "siglip": {
        "embed_dim": 16,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": VIT,
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "clipa": {
        "embed_dim": 16,
        "vision_cfg": {**VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {**TEXT, "pool_type": "last", "no_causal_mask": True},
    },
    "timm": {
        "embed_dim": 16,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160},
        "text_cfg": TEXT,
    },
    "convolutions": {
        "embed_dim": 16,
        "vision_cfg": {"timm_model_name": "test_resnet", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
    },
    "coca": COCA,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_load_from_a_file(family, tmp_path):
    config = FAMILIES[family]
    with added("small", config, tmp_path), torch.no_grad():
        theirs = open_clip.create_model("small").eval()
        torch.save({"state_dict": theirs.state_dict()}, tmp_path / "c.pt")
        clip = load("small", str(tmp_path / "c.pt"))
        side, tokens = clip.view.size, clip.tokenizer(["a cat", "a dog"])
        images = torch.randn(2, 3, side, side)
        out = clip.model(images, tokens)
        torch.testing.assert_close(out["image_features"], theirs.encode_image(images, normalize=True))
        torch.testing.assert_close(out["text_features"], theirs.encode_text(tokens, normalize=True))
        assert zero_shot(clip, Classes(("cat", "dog"), ("a {}.",)))(images).logits.shape == (2, 2)


def test_cocas_towers_train_and_export(tmp_path):
    with added("small-coca", COCA, tmp_path):
        clip = load("small-coca", RANDOM)
        classifier = zero_shot(clip, Classes(("cat", "dog"), ("a {}.",)))
        names = trainable(classifier, text=True, freeze=())
        assert not any("decoder" in name for name in names)
        images = torch.randn(1, 3, 32, 32)
        out = classifier(images, clip.tokenizer(["a cat"]))
        loss = (out.image_features * out.text_features).sum() * out.logit_scale + out.logits.sum()
        grads = torch.autograd.grad(loss, [classifier.get_parameter(name) for name in names])
        assert len(grads) == len(names), "every trained parameter acts"
        export(classifier, clip, ("cat", "dog"), tmp_path / "model")
        again = load(f"local-dir:{tmp_path / 'model'}", None)
        torch.testing.assert_close(again.model(images)["image_features"], out.image_features)
        again = load("small-coca", str(tmp_path / "model" / "open_clip_model.safetensors"))
        torch.testing.assert_close(again.model(images)["image_features"], out.image_features)


def test_the_users_own_coca(tmp_path):
    with added("small-coca", COCA, tmp_path):
        model = open_clip.create_model("small-coca")
        tokenizer = open_clip.get_tokenizer("small-coca")
        clip = clip_of(model, tokenizer, "small-coca", "cpu")
        assert clip.model(torch.zeros(1, 3, 32, 32))["text_features"] is None
        assert "multimodal_cfg" not in clip.config
        with pytest.raises(ConfigError, match="architecture: not given with a CoCa"):
            clip_of(model, tokenizer, None, "cpu")


def test_the_users_own_weights_are_finite():
    model = open_clip.create_model(TOY)
    with torch.no_grad():
        model.ln_final.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"model: ln_final\.bias has 1 of \d+ values that are NaN"):
        clip_of(model, open_clip.get_tokenizer(TOY), TOY, "cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (torch.zeros_like, "features of lengths 0 and 0"),
        (lambda t: t.exp() if t.ndim == 0 else t, r"a logit scale of 1\.6.*e\+06; allowed: .* below 10,000"),
        (lambda t: t + 100 if t.ndim == 0 else t, "a logit scale of inf"),
    ],
    ids=["zeros", "the scale for its logarithm", "a large scale"],
)
def test_weights_that_are_of_no_use_are_refused(tmp_path, change, said):
    weights = open_clip.create_model(TOY).state_dict()
    torch.save({name: change(t) for name, t in weights.items()}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=f"model.pretrained: .*{said}"):
        load(TOY, str(tmp_path / "c.pt"))


def test_others_stay_as_they_are():
    model, config = torch.nn.Linear(1, 1), {"embed_dim": 1}
    assert contrastive(model, config) == (model, config)


BROKEN = {
    "tokens beside features": (
        {**FAMILIES["vit"], "vision_cfg": {**VIT, "output_tokens": True}},
        "CLIP cannot be used",
    ),
    "a vocabulary that is too small": (
        {**FAMILIES["vit"], "text_cfg": {**TEXT, "vocab_size": 10}},
        "CLIP cannot be used",
    ),
    "features of two widths": (
        {**FAMILIES["vit"], "custom_text": True, "text_cfg": {**TEXT, "width": 32, "proj_type": "none"}},
        r"image features \[1, 16\], text features \[1, 32\]",
    ),
    "unknown settings": ({**FAMILIES["vit"], "vision_cfg": {**VIT, "new": 1}}, "unexpected keyword argument 'new'"),
    "an unknown tower": (
        {**FAMILIES["timm"], "vision_cfg": {**FAMILIES["timm"]["vision_cfg"], "timm_model_name": "vit_unheard_of"}},
        "Unknown model",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_families_that_do_not_fit_are_refused(fault, tmp_path):
    config, words = BROKEN[fault]
    with added("broken", copy.deepcopy(config), tmp_path), pytest.raises(CheckpointError, match=words) as caught:
        load("broken", RANDOM)
    assert "'broken'" in str(caught.value)
    assert "allowed: " in str(caught.value)


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "ViT-B-16-SigLIP", "nllb-clip-base", "ViT-H-14-CLIPA"])
def test_what_cannot_be_fetched_is_refused_at_once(name, monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: False)
    text = open_clip.get_model_config(name)["text_cfg"]
    needed = text.get("hf_model_name") or text["hf_tokenizer_name"]
    with pytest.raises(CheckpointError, match=rf"model\.name: '{name}' needs '{needed}' of Hugging Face"):
        load(name, RANDOM)
    assert not hub.hub.HF_HUB_OFFLINE, "as it was before"


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name",
    [
        *("coca_ViT-B-32", "EVA02-B-16", "MobileCLIP-S1", "MobileCLIP2-S0", "convnext_tiny", "RN50", "ViTamin-S"),
        *("PE-Core-T-16-384", "vit_relpos_medium_patch16_cls_224", "vit_medium_patch16_gap_256"),
        "swin_base_patch4_window7_224",
    ],
)
def test_real_families_load(name):
    assert load(name, RANDOM).view.size >= 224
