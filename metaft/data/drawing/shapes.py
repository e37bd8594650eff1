"""Pictures of twelve procedurally drawn objects."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.data.drawing.paint import paint
from metaft.data.drawing.render import arc, distance, pad_segments, polyline, transform, uniforms

SIZE = 32


def _polygon(*points: tuple[float, float]) -> NDArray[np.float64]:
    return polyline(np.array(points, dtype=float), closed=True)


def _regular(n: int, start: float) -> NDArray[np.float64]:
    return polyline(arc((0, 0), (0.95, 0.95), (start, start + 360 * (n - 1) / n), n), closed=True)


def _star() -> NDArray[np.float64]:
    outer = arc((0, 0), (1, 1), (-90, -90 + 288), 5)
    inner = arc((0, 0), (0.42, 0.42), (-54, -54 + 288), 5)
    return polyline(np.stack([outer, inner], axis=1).reshape(-1, 2), closed=True)


def _heart() -> NDArray[np.float64]:
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return polyline(np.stack([x / 17, -(y + 2) / 16], axis=1), closed=True)


def _ring() -> NDArray[np.float64]:
    hole = polyline(arc((0, 0), (0.52, 0.52), (0, 330), 12), closed=True)
    return np.concatenate([_regular(14, 0), hole])


def _crescent() -> NDArray[np.float64]:
    outer = arc((0, 0), (0.95, 0.95), (50, 310), 14)
    inner = arc((0.42, 0), (0.72, 0.72), (285, 75), 8)
    return polyline(np.concatenate([outer, inner]), closed=True)


GLYPHS: dict[str, NDArray[np.float64]] = {
    "circle": _regular(20, 0),
    "square": _polygon((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
    "triangle": _polygon((0, -0.95), (0.95, 0.75), (-0.95, 0.75)),
    "star": _star(),
    "cross": _polygon(
        *[(-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3)],
        *[(0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.3, -0.3)],
    ),
    "heart": _heart(),
    "ring": _ring(),
    "crescent": _crescent(),
    "arrow": _polygon((-0.95, -0.25), (0.1, -0.25), (0.1, -0.7), (0.95, 0), (0.1, 0.7), (0.1, 0.25), (-0.95, 0.25)),
    "hexagon": _regular(6, 0),
    "diamond": _polygon((0, -1), (0.6, 0), (0, 1), (-0.6, 0)),
    "bolt": _polygon((0.2, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.25, 1), (0.6, -0.25), (0.05, -0.25)),
}
_SEGMENTS = pad_segments(list(GLYPHS.values()))


def render(
    classes: NDArray[np.int64],
    styles: Tensor,
    colours: NDArray[np.int64],
    seed: int,
    indices: NDArray[np.int64],
    *,
    size: int = SIZE,
    chunk: int = 512,
) -> Tensor:
    """Draw shapes; image i depends on the seed and its number alone.

    Args:
        classes, colours: [B], rows of GLYPHS and COLOURS.
        styles: [B, F], see `styles.style_rows`.
        seed: of the data set.
        indices: [B], the number of each image.
        size: side of the images in pixels.
        chunk: how many are drawn at a time (memory only; it changes no pixel).

    Returns:
        uint8 [B, 3, size, size].
    """
    parts = []
    for start in range(0, len(indices), chunk):
        part = slice(start, start + chunk)
        r = uniforms(seed, indices[part], 8)
        scale = (0.42 + 0.33 * r[:, :1]) * torch.stack([0.85 + 0.3 * r[:, 1], torch.ones(len(r))], dim=1)
        segments = transform(
            _SEGMENTS[torch.from_numpy(classes[part])],
            scale,
            angle=(r[:, 2] - 0.5) * 0.9,
            shear=(r[:, 3] - 0.5) * 0.4,
            shift=(r[:, 4:6] - 0.5) * 0.4,
        )
        field = distance(segments, size, filled=True)
        parts.append(paint(field, styles[part], colours[part], seed, indices[part]))
    return torch.cat(parts)
