"""Blocks of a model over shards; what such a model computes is tested on ranks (tests/test_ranks_shards.py)."""

from __future__ import annotations

import pytest

from metaft.clip.blockwise import BLOCK


@pytest.mark.parametrize(
    "block",
    [
        *("clip.visual.transformer.resblocks.11", "clip.transformer.resblocks.0", "clip.visual.layer3.5"),
        *("clip.visual.trunk.blocks.3", "clip.visual.trunk.stages.2.blocks.5", "clip.text.transformer.encoder.layer.7"),
    ],
)
def test_blocks_of_towers(block):
    """Of open_clip, timm and transformers, with what they are made of."""
    found = BLOCK.match(f"{block}.mlp.layers.0.weight")
    assert found is not None
    assert found[1] == block


def test_what_is_in_no_block():
    for name in ("clip.visual.layer_norm.weight", "clip.visual.trunk.patch_embed.proj.weight", "head.weight"):
        assert BLOCK.match(name) is None
