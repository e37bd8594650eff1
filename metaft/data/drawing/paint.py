"""The painter of every style: distance fields to pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.data.drawing.render import pixel_grid, uniforms
from metaft.data.drawing.styles import COLOURS, FIELDS, STYLES, Style

_PALETTE = torch.tensor(list(COLOURS.values()))
_STYLE_STREAM, _NOISE_STREAM = 0x5717, 0x4015E  # keep the painter's draws apart from the glyph's


def style_rows(styles: Iterable[str | Style]) -> Tensor:
    """The numbers of styles, float32 [len(styles), len(FIELDS)]."""
    return torch.tensor([dataclasses.astuple(STYLES[s] if isinstance(s, str) else s) for s in styles])


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
    """The field averaged over 8 x 8 equal blocks, at its full size [B, S, S]."""
    side = field.shape[-1]
    pooled = torch.nn.functional.avg_pool2d(field[:, None], side // 8)
    return torch.nn.functional.interpolate(pooled, size=side, mode="nearest")[:, 0]
