"""Which architecture a configuration or a state dict belongs to."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch

from metaft.clip.architecture import differences, fitting, same


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-quickgelu", "RN50", "coca_ViT-B-32", "ViT-B-16-SigLIP"])
def test_a_configuration_is_that_of_its_name(name):
    config = json.loads(json.dumps(open_clip.get_model_config(name)))
    assert name in same(config)
    assert differences(config, open_clip.get_model_config(name)) == {}


def test_defaults_and_square_sizes_are_no_difference():
    config = open_clip.get_model_config("ViT-B-32")
    written = {**config, "quick_gelu": False, "custom_text": False}
    written["vision_cfg"] = {**config["vision_cfg"], "image_size": [224, 224], "head_width": 64}
    assert differences(config, written) == {}
    written["vision_cfg"]["image_size"] = 256
    assert differences(config, written) == {"vision_cfg.image_size": (224, 256)}
    assert same(written) == ["ViT-B-32-256"]
    assert same({**config, "quick_gelu": True}) == ["ViT-B-32-quickgelu"]


@pytest.mark.parametrize("name", ["ViT-S-32", "ViT-B-32-256", "ViT-L-14-336"])
@pytest.mark.parametrize("custom_text", [False, True])
def test_weights_fit_their_architecture(name, custom_text):
    with torch.device("meta"):
        config = open_clip.get_model_config(name)
        kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
        state = kind(**config).state_dict()
    assert fitting(state)[0] == name
    assert fitting({**state, "visual.proj": torch.zeros(2, 2)}) == []
