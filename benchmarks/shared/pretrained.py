"""What a model still knows of its pretraining."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier, zero_shot
from metaft.data.classes import Classes
from metaft.data.digits import NAMES
from metaft.data.drawing.pool import SEED, pool
from metaft.data.drawing.shapes import GLYPHS
from metaft.data.types import PixelArray, Split
from shared.cells import score

COUNT, UNSEEN = 1_000, SEED + 900  # pictures of a seed that no pretraining has
KINDS = Classes(
    (*(f"a {name}" for name in GLYPHS), *(f"the digit {name}" for name in NAMES)),
    ("{}.", "a picture of {}.", "a drawing of {}."),
)


def recognised(work: Workspace, model: Classifier) -> float:
    """The share of pictures like those of pretraining, every object and digit in every style, that is told by name.

    The classifier is made of the names by the model's own text tower; chance is one in 26.
    """
    clip = replace(work.clip, model=model.clip)
    source, kinds = unseen(clip.view.size)
    return score(work, zero_shot(clip, KINDS, work.device), Split("pretraining", source, kinds, clip.view))


@cache
def unseen(size: int) -> tuple[PixelArray, Tensor]:
    """The pictures, at a model's size, and the number of the kind of each [COUNT]."""
    drawn = pool(UNSEEN, COUNT)
    kinds = torch.from_numpy(drawn.kinds).clone()
    kinds[drawn.shapes :] += len(GLYPHS)
    return PixelArray(drawn.pixels(range(COUNT), size), size), kinds
