"""freeze-embed: the layers that make tokens of pixels stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.chosen import Chosen
from metaft.hooks.hook import Hook
from metaft.hooks.patterns import matching

EMBEDDING = (
    *("clip.visual.conv[123].weight", "clip.visual.bn[123].*"),  # open_clip's ViT (conv1), and its ResNet's stem
    *("clip.visual.class_embedding", "clip.visual.positional_embedding", "clip.visual.ln_pre.*"),
    *("*trunk.patch_embed.*", "*trunk.cls_token", "*trunk.reg_token", "*trunk.pos_embed", "*trunk.norm_pre.*"),  # timm
    "*trunk.stem.*",  # timm's ConvNeXt
)


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """All but the image tower's patch, position and class embeddings and the norm before its first block.

    They hold less than a hundredth of the parameters, and gradients that are far larger than elsewhere, by which the
    rest of the model is distorted. The paper makes SGD as good as AdamW by this; here the optimizer is AdamW, for
    which it reports a smaller gain.

    Raises:
        ConfigError: no such parameter is trained, or nothing else is.

    Source: Kumar et al., How to fine-tune vision models with SGD, arXiv 2211.09359 (freeze-embed).
    """
    embedding = set(matching(names, EMBEDDING))
    if not embedding or len(embedding) == len(names):
        found = "nothing else" if embedding else "no such layer"
        what = f"'freeze_embed' trains all but the layer that embeds patches, and {found} is to be trained here"
        raise ConfigError([Fault("evaluation.methods", what, "other methods, or a model with both")])
    return Chosen([name for name in names if name not in embedding])
