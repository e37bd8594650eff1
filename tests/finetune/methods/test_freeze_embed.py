"""freeze_embed: torch's AdamW on all but the embedding, of every family of image towers."""

from __future__ import annotations

import open_clip
import pytest

from metaft.clip.classifier import group_of
from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from metaft.hooks.freeze_embed import EMBEDDING
from metaft.hooks.patterns import matching
from metaft.hooks.registry import hook_for
from tests.finetune.states import by_hand, close, moved

STAYS = ("class_embedding", "positional_embedding", "conv1.weight", "ln_pre.weight", "ln_pre.bias")


def test_it_is_torch_on_the_rest(work, data, context):
    model = METHODS["freeze_embed"].fit(work.classifier, data, context)
    trained = [n for n, _ in work.classifier.named_parameters() if group_of(n) != "text"]
    rest = [n for n in trained if n not in {f"clip.visual.{name}" for name in STAYS}]
    assert len(trained) - len(rest) == 5
    assert moved(model, work.classifier) == set(rest)
    close(model, by_hand(work.classifier, dict.fromkeys(rest, 1e-3), data, context))


VIT = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16}
TOWERS = {
    "resnet": ({"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}, 9),
    "vit": (VIT, 5),
    "timm": ({"timm_model_name": "vit_tiny_patch16_224", "image_size": 32, "timm_pool": "token"}, 4),
    "convnext": ({"timm_model_name": "convnext_atto", "image_size": 32, "timm_pool": "", "timm_proj": "linear"}, 4),
}


@pytest.mark.parametrize("tower", TOWERS)
def test_towers_and_their_embeddings(tower):
    vision, count = TOWERS[tower]
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    clip = open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text)
    names = [f"clip.{name}" for name, _ in clip.named_parameters()]
    found = matching(names, EMBEDDING)
    assert len(found) == count, found
    assert all(group_of(name) == "stem" for name in found)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["clip.visual.layer.weight", "head.weight"], "no such layer"), (["clip.visual.conv1.weight"], "nothing else")],
)
def test_nothing_to_freeze_or_to_train(work, names, words):
    with pytest.raises(ConfigError, match=f"'freeze_embed' trains all but the layer that embeds patches, and {words}"):
        hook_for("freeze_embed", names, work.cfg.finetune)
