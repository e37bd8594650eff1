"""Layer-wise decay: which layer is how far from the output."""

from __future__ import annotations

import open_clip

from metaft.hooks.layer_decay import layers_below


def test_layers_of_towers():
    """BEiT's numbers: the embedding is layer 0, block i is layer i + 1, and all behind is the last layer."""
    names = ["head.weight", "head.bias", "clip.logit_scale", "clip.transformer.resblocks.0.ln_1.weight"]
    clip = open_clip.create_model("ViT-B-32", pretrained=None, device="meta")
    names += [f"clip.visual.{name}" for name, _ in clip.visual.named_parameters()]
    for name, below in zip(names, layers_below(names), strict=True):
        if "visual" not in name or "ln_post" in name or name.endswith("visual.proj"):
            layer = 13
        else:
            layer = int(name.split(".")[4]) + 1 if "resblocks" in name else 0
        assert below == 13 - layer, name


def test_a_tower_without_blocks_is_one_layer():
    assert layers_below(["clip.visual.layer1.0.conv1.weight", "head.weight"]) == [1, 0]
