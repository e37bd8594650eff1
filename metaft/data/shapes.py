"""shapes: twelve procedurally drawn objects in twenty styles, with colour as a shortcut in the ID style."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor

from metaft.data.render import arc, distance, pad_segments, polyline, transform, uniforms
from metaft.data.styles import COLOURS, STYLE_SETS, STYLES, between, paint, style_rows
from metaft.data.types import Classes, ImageView, PixelArray, Split, Splits
from metaft.errors import nearest

SIZE = 32
TEMPLATES = ("a {}.", "a drawing of a {}.", "a picture of a {}.")


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
# Four classes go by words that no caption of the toy CLIP's pretraining says, as species go by Latin ones: the model
# knows their looks but not their names, so that fine-tuning has something to teach that holds in every style.
COINED = {"cross": "dax", "crescent": "blicket", "hexagon": "wug", "bolt": "toma"}
NAMES = tuple(COINED.get(name, name) for name in GLYPHS)
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


class Options(BaseModel):
    """Settings of `data.format: shapes`, under `data.options`; sizes of OOD tests are per style."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: str = "photo"
    val_styles: tuple[str, ...] = Field("validation", validate_default=True)  # a set's name or styles
    test_styles: tuple[str, ...] = Field("test", validate_default=True)
    id_train: int = Field(2000, ge=1)
    id_val: int = Field(600, ge=1)
    ood_val: int = Field(300, ge=1)
    test: int = Field(600, ge=1)
    colour_correlation: float = Field(0.7, ge=0, le=1)
    severity: float = Field(1.0, ge=0, le=1)
    size: Literal[32, 64] = 32

    @field_validator("val_styles", "test_styles", mode="before")
    @classmethod
    def _expanded(cls, value: object, info: ValidationInfo) -> object:
        """A set's name stands for its styles without the ID style."""
        if not isinstance(value, str):
            return value
        if value not in STYLE_SETS:
            raise ValueError(f"a list of styles, or one of the sets {', '.join(STYLE_SETS)}")
        return tuple(s for s in STYLE_SETS[value] if s != info.data.get("style"))

    @field_validator("style", "val_styles", "test_styles")
    @classmethod
    def _known(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        taken = {*info.data.get("val_styles", ()), info.data.get("style")}
        for name in [value] if isinstance(value, str) else value:
            if name not in STYLES:
                raise ValueError(f"{', '.join(STYLES)} (nearest to {name!r}: {nearest(name, STYLES)!r})")
            if name in taken:
                raise ValueError(f"each style in one of style, val_styles and test_styles alone, unlike {name!r}")
        return value


def load(options: Options, seed: int, view: ImageView) -> Splits:
    """Draw every split; each has a seed of its own, so sizes can change without changing images."""
    o = options

    def draw(name: str, number: int, n: int, styles: tuple[str, ...], correlation: float) -> Split:
        split_seed = seed * 1000 + number
        indices = np.arange(n)
        r = uniforms(split_seed ^ 0xC0105, indices, 3).numpy()
        classes = indices % len(GLYPHS)
        tied = classes % len(COLOURS)
        colours = np.where(r[:, 0] < correlation, tied, (r[:, 1] * len(COLOURS)).astype(np.int64))
        rows = style_rows(between(STYLES[o.style], STYLES[s], o.severity) for s in styles)
        chosen = rows[(r[:, 2] * len(styles)).astype(np.int64)]
        pixels = render(classes, chosen, colours, split_seed, indices, size=o.size)
        return Split(name, PixelArray(pixels, view.size), torch.from_numpy(classes), view)

    c, number = o.colour_correlation, {s: i for i, s in enumerate(STYLES)}
    tests = {"id_test": draw("id_test", 3, o.test, (o.style,), c)}
    tests |= {f"ood_test/{s}": draw(f"ood_test/{s}", 100 + number[s], o.test, (s,), 0.0) for s in o.test_styles}
    return Splits(
        id_train=draw("id_train", 0, o.id_train, (o.style,), c),
        id_val=draw("id_val", 1, o.id_val, (o.style,), c),
        ood_val=draw("ood_val", 2, o.ood_val, o.val_styles, 0.0),
        tests=tests,
        classes=Classes(NAMES, TEMPLATES),
        labelled_half=draw("labelled_half", 4, o.test * len(o.test_styles), o.test_styles, 0.0),
    )
