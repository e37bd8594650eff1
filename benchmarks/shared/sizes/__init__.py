"""The toy CLIP with a fifth and six times its image tower, registered with open_clip; the text tower is the same."""

from __future__ import annotations

from pathlib import Path

import open_clip

from metaft.clip.embedded import checkpoint
from metaft.clip.names import EMBEDDED, TOY

NARROW, WIDE = "narrow-clip", "wide-clip"  # width 48, 3 layers; width 192, 6 layers
SIZES = (NARROW, TOY, WIDE)
PRETRAINED = tuple(dict.fromkeys((*SIZES, *EMBEDDED)))  # those that pretrain.py makes

open_clip.add_model_config(Path(__file__).parent)


def model_words(name: str) -> tuple[str, ...]:
    """The settings of a model: one that pretrain.py made from seed 0, or `NAME=PRETRAINED` of open_clip's."""
    name, _, pretrained = name.partition("=")
    where = checkpoint(name, 0) if name in PRETRAINED else pretrained
    return (f"model.name={name}", f"model.pretrained={where}")
