"""Pictures of digits: rendered in several hands, and the real handwritten ones of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.data.drawing.paint import paint
from metaft.data.drawing.render import arc, bend, distance, pad_segments, polyline, transform, uniforms

SIZE = 32


def _lines(*strokes: NDArray[np.float64] | list[tuple[float, float]]) -> NDArray[np.float64]:
    return np.concatenate([polyline(np.asarray(s, dtype=float), closed=False) for s in strokes])


# Two ways of writing each digit, as strokes over x in [-0.6, 0.6] and y in [-0.9, 0.9] (down).
GLYPHS: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...] = (
    (_lines(arc((0, 0), (0.55, 0.9), (-90, 270), 17)), _lines(arc((0, 0), (0.42, 0.9), (-60, 300), 15))),
    (_lines([(0, -0.9), (0, 0.9)]), _lines([(-0.3, -0.5), (0.05, -0.9), (0.05, 0.9)])),
    (
        _lines(np.concatenate([arc((0, -0.42), (0.5, 0.48), (190, 390), 9), [(-0.55, 0.9), (0.6, 0.9)]])),
        _lines(
            np.concatenate(
                [
                    arc((0, -0.42), (0.45, 0.48), (200, 400), 9),
                    arc((-0.3, 0.72), (0.2, 0.2), (60, 300), 5),
                    [(0.6, 0.85)],
                ]
            )
        ),
    ),
    (
        _lines(arc((0, -0.45), (0.45, 0.45), (-150, 90), 9), arc((0, 0.45), (0.5, 0.45), (-90, 150), 9)),
        _lines([(-0.45, -0.9), (0.45, -0.9), (0, -0.15)], arc((0, 0.38), (0.5, 0.52), (-90, 150), 9)),
    ),
    (
        _lines([(0.2, -0.9), (-0.55, 0.3), (0.6, 0.3)], [(0.25, -0.3), (0.25, 0.9)]),
        _lines([(-0.45, -0.8), (-0.45, 0.05), (0.5, 0.05)], [(0.4, -0.8), (0.3, 0.9)]),
    ),
    (
        _lines([(0.5, -0.9), (-0.4, -0.9), (-0.42, -0.1)], arc((-0.05, 0.35), (0.52, 0.52), (-135, 140), 10)),
        _lines([(0.5, -0.85), (-0.25, -0.85), (-0.35, -0.15)], arc((0, 0.38), (0.42, 0.5), (-120, 130), 9)),
    ),
    (
        _lines(arc((0.25, 0.3), (0.75, 1.2), (265, 180), 7), arc((0, 0.4), (0.5, 0.48), (180, 540), 13)),
        _lines([(0.15, -0.9), (-0.4, 0.1)], arc((0, 0.42), (0.42, 0.45), (200, 560), 12)),
    ),
    (
        _lines([(-0.5, -0.9), (0.5, -0.9), (-0.1, 0.9)]),
        _lines([(-0.5, -0.85), (0.5, -0.9), (0.0, 0.9)], [(-0.3, 0.0), (0.45, -0.05)]),
    ),
    (
        _lines(arc((0, -0.45), (0.4, 0.43), (90, 450), 11), arc((0, 0.45), (0.5, 0.46), (-90, 270), 11)),
        _lines(
            arc((0.05, -0.45), (0.35, 0.4), (60, 380), 10),
            [(-0.2, -0.15), (0.35, 0.3)],
            arc((0, 0.5), (0.38, 0.4), (-30, 270), 9),
        ),
    ),
    (
        _lines(arc((0, -0.4), (0.48, 0.48), (0, 360), 12), arc((-0.3, -0.3), (0.78, 1.2), (0, 75), 6)),
        _lines(arc((0, -0.42), (0.42, 0.45), (-20, 340), 11), [(0.42, -0.55), (0.35, 0.9)]),
    ),
)
_SEGMENTS = pad_segments([variant for pair in GLYPHS for variant in pair])


@dataclass(frozen=True)
class Hand:
    """A way of writing: slant and its spread (shear), width to height, pen (half widths), wobble."""

    slant: float
    spread: float
    aspect: float
    pen: tuple[float, float]
    wobble: float


HANDS = {
    "print": Hand(0.0, 0.05, 0.85, (0.07, 0.12), 0.00),
    "italic": Hand(-0.30, 0.10, 0.80, (0.06, 0.10), 0.02),
    "narrow": Hand(0.0, 0.10, 0.60, (0.06, 0.10), 0.02),
    "bold": Hand(0.0, 0.10, 0.95, (0.14, 0.20), 0.01),
    "free": Hand(-0.10, 0.35, 0.85, (0.07, 0.15), 0.08),
}


def render(
    classes: NDArray[np.int64],
    hands: NDArray[np.int64],
    styles: Tensor,
    colours: NDArray[np.int64],
    seed: int,
    indices: NDArray[np.int64],
    *,
    size: int = SIZE,
    chunk: int = 512,
) -> Tensor:
    """Write digits in hands (rows of HANDS) and paint them in styles; see `shapes.render` for the rest."""
    table = torch.tensor([[h.slant, h.spread, h.aspect, *h.pen, h.wobble] for h in HANDS.values()])
    parts = []
    for start in range(0, len(indices), chunk):
        part = slice(start, start + chunk)
        r = uniforms(seed, indices[part], 16)
        slant, spread, aspect, thin, thick, wobble = table[torch.from_numpy(hands[part])].unbind(1)
        variant = 2 * torch.from_numpy(classes[part]) + (r[:, 0] < 0.5)
        height = 0.62 + 0.25 * r[:, 1]
        segments = transform(
            bend(_SEGMENTS[variant], wobble, r[:, 8:12]),
            torch.stack([height * aspect * (0.85 + 0.3 * r[:, 2]), height], dim=1),
            angle=(r[:, 3] - 0.5) * 0.3,
            shear=slant + spread * 2 * (r[:, 4] - 0.5),
            shift=(r[:, 5:7] - 0.5) * 0.25,
        )
        pen = thin + (thick - thin) * r[:, 7]
        field = distance(segments, size, filled=False) - pen[:, None, None]
        parts.append(paint(field, styles[part], colours[part], seed, indices[part]))
    return torch.cat(parts)


def handwritten() -> tuple[Tensor, Tensor]:
    """The 1,797 handwritten digits that scikit-learn ships: uint8 [1797, 3, 32, 32] and labels [1797].

    8 x 8 grey values of 0 to 16, enlarged bicubically; ink is light. They are sorted by writer.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part, 13 writers).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=SIZE, mode="bicubic", align_corners=False)
    pixels = (large.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(bunch.target).long()
