"""The pictures that the embedded models were pretrained on: every shape and digit in every style and colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaft.data.drawing import digits, shapes
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.styles import COLOURS, STYLES
from metaft.data.types import ImageView, PixelArray, Split

COUNT = 40_000  # pictures of one pretraining
SEED = 7_000  # of the pictures of pretraining 0; that of pretraining N is N more
SHARE = 0.6  # of shapes; the others are digits
KEPT = 1_000  # pictures of pretraining 0 that a suite has


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures as numbers, of which each can be drawn alone.

    Args:
        seed: of the pictures.
        styles, colours: rows of STYLES and COLOURS, [N].
        kinds: rows of the glyphs of shapes, of which the first pictures are, and then of digits, [N].
        hands: rows of the hands that digits are written in, [number of digits].
        shown: what captions show of each picture, [N, 4].
    """

    seed: int
    styles: NDArray[np.int64]
    colours: NDArray[np.int64]
    kinds: NDArray[np.int64]
    hands: NDArray[np.int64]
    shown: NDArray[np.bool_]

    @property
    def shapes(self) -> int:
        """The number of shapes."""
        return len(self.kinds) - len(self.hands)

    def pixels(self, rows: Sequence[int], size: int) -> Tensor:
        """uint8 [B, 3, size, size] of the pictures of these numbers, ascending."""
        chosen = np.asarray(rows)
        a, b = chosen[chosen < self.shapes], chosen[chosen >= self.shapes]
        table = style_rows(STYLES)
        of_a, of_b = table[self.styles[a]], table[self.styles[b]]
        drawn = shapes.render(self.kinds[a], of_a, self.colours[a], self.seed, a, size=size) if len(a) else None
        hands = self.hands[b - self.shapes]
        written = (
            digits.render(self.kinds[b], hands, of_b, self.colours[b], self.seed, b, size=size) if len(b) else None
        )
        return torch.cat([part for part in (drawn, written) if part is not None])


def pool(seed: int, count: int = COUNT) -> Pool:
    """The pictures of a seed."""
    rng = np.random.default_rng([seed, 1])
    n = int(SHARE * count)
    styles = rng.integers(len(STYLES), size=count)
    colours = rng.integers(len(COLOURS), size=count)
    kinds = np.concatenate([rng.integers(len(shapes.GLYPHS), size=n), rng.integers(10, size=count - n)])
    hands = rng.integers(len(digits.HANDS), size=count - n)
    return Pool(seed, styles, colours, kinds, hands, rng.random((count, 4)) < 0.5)


@dataclass(frozen=True, eq=False)
class Kept:
    """Some of the pictures, evenly spread over the pool, drawn when one is first asked for.

    Args:
        drawn: S, the side that they are drawn at.
        size: the side that a model wants.
    """

    drawn: int
    size: int

    @cached_property
    def _array(self) -> PixelArray:
        return PixelArray(pool(SEED).pixels(range(0, COUNT, COUNT // KEPT), self.drawn), self.size)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, size, size]."""
        return self._array.pixels(indices)


def kept(drawn: int, view: ImageView) -> Split:
    """The split `pretraining` of a suite; its labels say nothing, since its pictures are of other classes too."""
    return Split("pretraining", Kept(drawn, view.size), torch.zeros(KEPT, dtype=torch.int64), view)
