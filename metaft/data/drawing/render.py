"""Vectorised drawing of glyphs: counter-based randomness, line segments, distance fields."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def uniforms(seed: int, indices: NDArray[np.int64], count: int) -> Tensor:
    """Numbers in [0, 1) that depend on (seed, index, position) alone, so that an image is the same in any batch.

    Two rounds of the SplitMix64 finaliser over a counter (Steele, Lea and Flood, OOPSLA 2014).

    Args:
        seed: any integer.
        indices: [B], the number of each image.
        count: how many numbers an image needs.

    Returns:
        float32 [B, count].
    """
    with np.errstate(over="ignore"):
        base = _mix(np.uint64(seed % 2**63) + np.asarray(indices).astype(np.uint64) * _GOLDEN)
        counters = np.arange(1, count + 1, dtype=np.uint64) * _MIX_1
        bits = _mix(base[:, None] + counters[None, :]) >> np.uint64(40)
    return torch.from_numpy(bits.astype(np.float32) / np.float32(2**24))


def polyline(points: NDArray[np.float64], closed: bool) -> NDArray[np.float64]:
    """Points [N, 2] to the segments [N or N - 1, 4] that join them, as (x0, y0, x1, y1)."""
    ends = np.roll(points, -1, axis=0) if closed else points[1:]
    starts = points if closed else points[:-1]
    return np.concatenate([starts, ends], axis=1)


def arc(
    centre: tuple[float, float], radii: tuple[float, float], degrees: tuple[float, float], n: int
) -> NDArray[np.float64]:
    """n points [n, 2] on an ellipse from one angle to another (degrees, x right and y down)."""
    angle = np.deg2rad(np.linspace(*degrees, n))
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def pad_segments(glyphs: list[NDArray[np.float64]]) -> Tensor:
    """Glyphs of unequal length to one float32 [C, V, 4]; padding repeats the last end point."""
    longest = max(len(g) for g in glyphs)
    padded = [np.concatenate([g, np.tile(np.tile(g[-1, 2:], 2), (longest - len(g), 1))]) for g in glyphs]
    return torch.from_numpy(np.stack(padded)).float()


def transform(segments: Tensor, scale: Tensor, angle: Tensor, shear: Tensor, shift: Tensor) -> Tensor:
    """Scale [B, 2], shear [B], rotate [B] (radians) and shift [B, 2] the segments [B, V, 4]."""
    points = segments.reshape(len(segments), -1, 2) * scale[:, None, :]
    x, y = points[..., 0] + shear[:, None] * points[..., 1], points[..., 1]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1) + shift[:, None, :]
    return turned.reshape(segments.shape)


def bend(segments: Tensor, amplitude: Tensor, phase: Tensor) -> Tensor:
    """Move the points of segments [B, V, 4] along a smooth wave of amplitude [B] and phases [B, 4]."""
    points = segments.reshape(len(segments), -1, 2)
    x, y, a, p = points[..., 0], points[..., 1], amplitude[:, None], 2 * torch.pi * phase[:, :, None]
    dx = torch.sin(2.2 * y + p[:, 0]) + 0.5 * torch.sin(4.1 * y + p[:, 1])
    dy = torch.sin(2.2 * x + p[:, 2]) + 0.5 * torch.sin(4.1 * x + p[:, 3])
    return torch.stack([x + a * dx, y + a * dy], dim=-1).reshape(segments.shape)


def pixel_grid(size: int) -> tuple[Tensor, Tensor]:
    """x and y of the pixel centres, each [size * size], over the square [-1, 1]."""
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.reshape(1, -1), y.reshape(1, -1)


def distance(segments: Tensor, size: int, filled: bool) -> Tensor:
    """Distance of every pixel to a glyph, in units of half the image's side.

    Args:
        segments: [B, V, 4].
        size: side of the image in pixels.
        filled: the segments bound an area (even-odd rule), inside which the distance is negative;
            otherwise they are bare lines.

    Returns:
        [B, size, size].
    """
    x, y = pixel_grid(size)
    nearest = torch.full((len(segments), size * size), 4.0)
    sign = torch.ones_like(nearest)
    for x0, y0, x1, y1 in segments.permute(1, 2, 0).unsqueeze(-1):
        dx, dy = x1 - x0, y1 - y0
        px, py = x - x0, y - y0
        t = ((px * dx + py * dy) / (dx * dx + dy * dy).clamp_min(1e-9)).clamp_(0, 1)
        nearest = torch.minimum(nearest, (px - t * dx).square_() + (py - t * dy).square_())
        if filled:
            crosses = ((y0 > y) != (y1 > y)) & ((px * dy - py * dx) * dy < 0)
            sign = torch.where(crosses, -sign, sign)
    return (nearest.sqrt_() * sign).reshape(-1, size, size)
