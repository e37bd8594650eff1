"""A contact sheet: a few pictures of each split, as one sees them, with their classes' names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from metaft.data.draws import drawn
from metaft.data.types import ImageView, Split, Splits

SIDE = 96  # pixels of a picture
LINE = 14  # pixels of a line of text
GAP = 6
PICTURES = 8  # of a split


def _whole(image: Image.Image) -> Tensor:
    """All of a picture on a square ground, uint8 [3, SIDE, SIDE]."""
    square = ImageOps.pad(image.convert("RGB"), (SIDE, SIDE), color="white")
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _square(image: Image.Image) -> Tensor:
    """The middle of a picture, uint8 [3, SIDE, SIDE]."""
    return torch.from_numpy(np.array(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE)))).permute(2, 0, 1)


SQUARE = ImageView(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _square)  # no ground, so that one of one colour stays so
WHOLE = ImageView(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _whole)  # nothing cut off, no colour changed


def contact_sheet(splits: Splits, seed: int) -> Image.Image:
    """A row for each split, of pictures of as many classes and domains as there can be, drawn by the seed.

    Args:
        splits: opened with the view `WHOLE`.
    """
    rows, names = splits.parts, splits.classes.names
    width, height = GAP + PICTURES * (SIDE + GAP), GAP + len(rows) * (SIDE + 2 * LINE + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    for number, split in enumerate(rows.values()):
        _draw(sheet, GAP + number * (SIDE + 2 * LINE + GAP), split, names, seed)
    return sheet


def _draw(sheet: Image.Image, top: int, split: Split, names: Sequence[str], seed: int) -> None:
    """A split's name, its pictures, and below each the name of its class."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=LINE - 3)
    pen.text((GAP, top), f"{split.name}: {len(split):,} pictures", fill="black", font=font)
    domains = None if split.domains is None else [str(number) for number in split.domains.numbers.tolist()]
    chosen = drawn(split.labels.tolist(), domains, PICTURES, seed, balanced=True)
    for place, (row, pixels) in enumerate(zip(chosen, split.source.pixels(chosen), strict=True)):
        left = GAP + place * (SIDE + GAP)
        sheet.paste(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), (left, top + LINE))
        name = names[int(split.labels[row])]
        while font.getlength(name) > SIDE:
            name = name[:-2] + "…"
        pen.text((left, top + LINE + SIDE), name, fill="black", font=font)
