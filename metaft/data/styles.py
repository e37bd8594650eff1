"""A parametrised family of drawing styles: one painter, one row of numbers per style."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.data.render import pixel_grid, uniforms

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.15, 0.30, 0.85),
    "yellow": (0.95, 0.85, 0.15),
    "purple": (0.55, 0.20, 0.70),
    "orange": (0.95, 0.55, 0.10),
    "cyan": (0.15, 0.80, 0.85),
    "pink": (0.95, 0.55, 0.75),
    "brown": (0.50, 0.30, 0.15),
    "gray": (0.50, 0.50, 0.50),
    "olive": (0.50, 0.55, 0.15),
    "navy": (0.10, 0.12, 0.40),
}


@dataclass(frozen=True)
class Style:
    """How a glyph becomes a picture; every number lies in [0, 1] unless said otherwise."""

    fill: float = 1.0  # opacity of the inside
    outline: float = 0.0  # opacity of the contour line
    outline_width: float = 0.06  # half its width, in half image sides
    outline_value: float = 0.05  # grey of the contour line
    saturation: float = 1.0  # of the glyph's colour
    lift: float = 0.0  # of the glyph's colour towards white
    paper: float = 0.9  # grey of the background
    tint: float = 0.0  # of the background, in a random colour
    texture: float = 0.0  # amplitude of waves on the background
    gradient: float = 0.0  # of the background's brightness
    shading: float = 0.0  # of the glyph's brightness
    hatch: float = 0.0  # stripes cut out of the glyph
    noise: float = 0.0  # amplitude per pixel
    softness: float = 1.0  # width of an edge in pixels, at least 1
    levels: float = 0.0  # posterise to so many levels (0: off)
    blocks: float = 0.0  # 1: draw in 8 x 8 blocks
    contrast: float = 1.0  # around mid-grey
    invert: float = 0.0  # 1: negative


STYLES: dict[str, Style] = {
    "photo": Style(paper=0.55, tint=0.35, gradient=0.3, shading=0.45, texture=0.12, noise=0.06, softness=1.5),
    "clipart": Style(outline=1.0, paper=1.0),
    "sketch": Style(fill=0.0, outline=1.0, outline_width=0.05, outline_value=0.25, paper=0.95, noise=0.10),
    "painting": Style(paper=0.6, tint=0.6, texture=0.25, shading=0.3, softness=2.5, levels=5),
    "negative": Style(paper=0.55, tint=0.3, gradient=0.2, shading=0.4, noise=0.05, invert=1.0),
    "silhouette": Style(saturation=0.0, shading=0.0, paper=0.85, tint=0.3, gradient=0.3, contrast=1.3),
    "neon": Style(fill=0.0, outline=1.0, outline_width=0.07, outline_value=0.95, paper=0.05, softness=3.0),
    "blueprint": Style(fill=0.1, outline=1.0, outline_width=0.04, outline_value=0.95, paper=0.35, tint=0.8),
    "chalk": Style(fill=0.8, saturation=0.3, lift=0.6, paper=0.15, noise=0.2, hatch=0.4),
    "poster": Style(paper=0.8, tint=0.9, levels=3, contrast=1.3),
    "noir": Style(saturation=0.0, lift=0.55, shading=0.8, paper=0.12, gradient=0.15, noise=0.08),
    "pastel": Style(saturation=0.45, paper=0.95, tint=0.2, contrast=0.6, softness=2.0),
    "engraving": Style(saturation=0.1, hatch=1.0, outline=0.8, outline_width=0.03, paper=0.9),
    "mosaic": Style(paper=0.6, tint=0.4, texture=0.2, blocks=1.0),
    "fog": Style(saturation=0.6, paper=0.8, contrast=0.35, noise=0.05, softness=3.0),
    "night": Style(paper=0.08, shading=0.7, contrast=0.6, noise=0.08, gradient=0.1),
    "sticker": Style(outline=1.0, outline_width=0.12, outline_value=1.0, paper=0.4, tint=0.7),
    "stamp": Style(fill=0.8, saturation=0.7, paper=0.9, noise=0.3, levels=2),
    "watercolour": Style(fill=0.7, saturation=0.7, paper=0.95, tint=0.1, texture=0.15, softness=4.0, shading=0.4),
    "comic": Style(outline=1.0, outline_width=0.09, hatch=0.35, paper=0.95, tint=0.5, contrast=1.2),
}

STYLE_SETS = {
    "validation": ("neon", "noir", "stamp", "pastel", "night"),
    "test": ("sketch", "silhouette", "negative", "mosaic", "fog"),
}
FIELDS = tuple(field.name for field in dataclasses.fields(Style))
SWITCHES = ("levels", "blocks", "invert")  # on or off: what a half-way style has of the nearer one
_PALETTE = torch.tensor(list(COLOURS.values()))
_STYLE_STREAM, _NOISE_STREAM = 0x5717, 0x4015E  # keep the painter's draws apart from the glyph's


def style_rows(styles: Iterable[str | Style]) -> Tensor:
    """The numbers of styles, float32 [len(styles), len(FIELDS)]."""
    return torch.tensor([dataclasses.astuple(STYLES[s] if isinstance(s, str) else s) for s in styles])


def between(start: Style, end: Style, share: float) -> Style:
    """The style at a share in [0, 1] of the way; switches turn in the middle."""
    a, b = dataclasses.asdict(start), dataclasses.asdict(end)
    mixed = {name: a[name] + share * (b[name] - a[name]) for name in FIELDS}
    mixed.update({name: (b if share >= 0.5 else a)[name] for name in SWITCHES})
    return Style(**mixed)


def paint(field: Tensor, styles: Tensor, colours: NDArray[np.int64], seed: int, indices: NDArray[np.int64]) -> Tensor:
    """Paint distance fields.

    Args:
        field: [B, S, S], signed distance in half image sides (negative inside).
        styles: [B, len(FIELDS)], see `style_rows`.
        colours: [B], rows of COLOURS.
        seed: of the data set; with the image numbers it fixes every random choice.
        indices: [B], the number of each image.

    Returns:
        uint8 [B, 3, S, S].
    """
    size = field.shape[-1]
    s = {name: column[:, None, None] for name, column in zip(FIELDS, styles.unbind(1), strict=True)}
    r = uniforms(seed ^ _STYLE_STREAM, indices, 12)[:, :, None, None]
    x, y = (a.reshape(1, size, size) for a in pixel_grid(size))

    field = torch.where(s["blocks"] > 0.5, _blocky(field), field)
    edge = s["softness"] * (2 / size)
    inside = (0.5 - field / edge).clamp(0, 1)
    line = (0.5 - (field.abs() - s["outline_width"]) / edge).clamp(0, 1)
    stripes = 0.5 + 0.5 * torch.sin(18 * _along(x, y, r[:, 0]) + 6.3 * r[:, 1])
    inside = s["fill"] * inside * (1 - s["hatch"] * (stripes > 0.5))

    light = 1 + s["shading"] * _along(x, y, r[:, 2]) + 0.3 * (r[:, 3] - 0.5) * (s["shading"] > 0)
    rgb = _PALETTE[torch.from_numpy(colours)][:, :, None, None]
    grey = 0.5 * rgb.mean(dim=1, keepdim=True)
    ink = grey + s["saturation"][:, None] * (rgb - grey)
    ink = (ink + s["lift"][:, None] * (1 - ink)) * light[:, None]

    paper = s["paper"] + s["gradient"] * _along(x, y, r[:, 4])
    waves = torch.sin(9 * _along(x, y, r[:, 5]) + 6.3 * r[:, 6]) * torch.sin(7 * _along(x, y, r[:, 7]))
    paper = (paper + s["texture"] * waves)[:, None]
    backdrop = paper * (1 + s["tint"][:, None] * (r[:, 8:11] - 0.5) * 1.6)

    line = (s["outline"] * line)[:, None]
    image = torch.lerp(backdrop, ink, inside[:, None])
    image = torch.lerp(image, s["outline_value"][:, None].expand_as(image), line)
    image = 0.5 + (image - 0.5) * s["contrast"][:, None]
    grain = uniforms(seed ^ _NOISE_STREAM, indices, size * size).reshape(-1, 1, size, size)
    image = image + s["noise"][:, None] * 2 * (grain - 0.5)
    levels = s["levels"][:, None]
    image = torch.where(levels > 0, (image * levels).round() / levels.clamp_min(1), image).clamp(0, 1)
    image = torch.where(s["invert"][:, None] > 0.5, 1 - image, image)
    return (image * 255).round().to(torch.uint8)


def _along(x: Tensor, y: Tensor, turn: Tensor) -> Tensor:
    """The coordinate of each pixel along a direction given as a share of a full turn [B, 1, 1]."""
    angle = 2 * torch.pi * turn
    return x * angle.cos() + y * angle.sin()


def _blocky(field: Tensor) -> Tensor:
    """Blocks of an eighth of the side."""
    side = field.shape[-1]
    pooled = torch.nn.functional.avg_pool2d(field[:, None], side // 8)
    return torch.nn.functional.interpolate(pooled, size=side, mode="nearest")[:, 0]
