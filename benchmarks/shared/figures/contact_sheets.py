"""Pictures of the embedded suites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from metaft.data.digits import NAMES as DIGITS
from metaft.data.drawing import digits, shapes
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.styles import COLOURS, STYLE_SETS, STYLES
from metaft.data.shapes import NAMES as SHAPES
from shared.figures.curves import DPI

SEED = 0


def sheet(rows: Sequence[tuple[str, Tensor]], columns: Sequence[str]) -> Figure:
    """A grid of pictures [n, 3, S, S] a row, with names at both sides."""
    figure = Figure(figsize=(0.62 * len(columns) + 1.7, 0.62 * len(rows) + 0.5), dpi=DPI)
    axes = figure.subplots(len(rows), len(columns), gridspec_kw={"wspace": 0.06, "hspace": 0.06}, squeeze=False)
    figure.subplots_adjust(
        left=1.6 / figure.get_figwidth(), right=0.99, bottom=0.01, top=1 - 0.4 / figure.get_figheight()
    )
    for r, (name, images) in enumerate(rows):
        for c, image in enumerate(images):
            cell = axes[r, c]
            cell.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            cell.set(xticks=[], yticks=[])
            cell.spines[:].set_visible(False)
            if r == 0:
                cell.set_title(columns[c], fontsize=8)
        axes[r, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def shape_rows() -> list[tuple[str, Tensor]]:
    """Every style, marked with the set it belongs to."""
    index = np.arange(len(shapes.GLYPHS))
    used = {style: name for name, styles in STYLE_SETS.items() for style in styles}
    rows = []
    for number, style in enumerate(STYLES):
        colours = np.random.default_rng([SEED, number]).integers(len(COLOURS), size=len(index))
        images = shapes.render(index, style_rows([style]).expand(len(index), -1), colours, SEED, index + 100 * number)
        rows.append((f"{style} ({used[style]})" if style in used else style, images))
    return rows


def digit_rows() -> list[tuple[str, Tensor]]:
    """Every hand, then real digits."""
    index = np.arange(10)
    rows = []
    for number, hand in enumerate(digits.HANDS):
        colours: NDArray[np.int64] = np.random.default_rng([SEED, number]).integers(len(COLOURS), size=10)
        style = style_rows(["photo"]).expand(10, -1)
        images = digits.render(index, np.full(10, number), style, colours, SEED, index + 100 * number)
        rows.append((hand, images))
    pixels, labels = digits.handwritten()
    for number in range(2):
        chosen = [(labels == digit).nonzero()[number].item() for digit in range(10)]
        rows.append(("handwritten", pixels[chosen]))
    return rows


def shapes_sheet() -> Figure:
    """A row a style with one picture of each class, as a test draws them at the default settings."""
    return sheet(shape_rows(), SHAPES)


def digits_sheet() -> Figure:
    """A row a hand, and two of real handwritten digits."""
    return sheet(digit_rows(), DIGITS)
