"""A parametrised family of drawing styles: one row of numbers per style, for the painter in `paint`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

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
    levels: float = 0.0  # the number of levels to posterise to (0: off)
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
SWITCHES = ("levels", "blocks", "invert")  # on or off: a style in between takes those of the nearer end


def between(start: Style, end: Style, share: float) -> Style:
    """The style at a share in [0, 1] of the way from start to end; switches change in the middle."""
    a, b = dataclasses.asdict(start), dataclasses.asdict(end)
    mixed = {name: a[name] + share * (b[name] - a[name]) for name in FIELDS}
    mixed.update({name: (b if share >= 0.5 else a)[name] for name in SWITCHES})
    return Style(**mixed)
