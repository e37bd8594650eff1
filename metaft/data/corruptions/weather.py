"""Weather: snow, frost, fog and glare."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import map_coordinates

from metaft.data.corruptions.arrays import Layer, Picture
from metaft.data.corruptions.blur import moving, zoomed
from metaft.data.corruptions.photographs import photographs

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
DRAWN = 5  # photographs of ice that are used: the published program never draws the sixth


def snow(
    x: Picture,
    rng: Generator,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    length: float,
    share: float,
) -> Picture:
    """A whitened image and falling flakes: noise above a threshold, enlarged, moving, and once more upside down."""
    flakes = zoomed(rng.normal(mean, deviation, x.shape[:2]), zoom)
    flakes = np.floor(np.clip(np.where(flakes < threshold, 0, flakes), 0, 1) * 255)  # in 8 bits, as it was drawn
    falling = (np.rint(moving(flakes, radius, length, rng.uniform(-135, -45))) / 255)[:, :, None]
    white = np.maximum(x, (x @ LUMA)[:, :, None] * 1.5 + 0.5)
    snowy: Picture = share * x + (1 - share) * white + falling + np.rot90(falling, 2)
    return snowy


def frost(x: Picture, rng: Generator, share: float, ice_share: float, scale: float) -> Picture:
    """share x + ice_share ice,  where the ice is a random part of a photograph."""
    size = len(x)
    ice = _photograph(photographs()[rng.integers(DRAWN)], scale, size)
    top, left = (rng.integers(0, side - size) for side in ice.shape[:2])
    return share * x + ice_share * ice[top : top + size, left : left + size]


@lru_cache(maxsize=2 * DRAWN)
def _photograph(path: Path, scale: float, size: int) -> Picture:
    """A photograph at a scale, or at one larger by as much as an image of `size` needs to lie within it."""
    with Image.open(path) as image:
        whole: Picture = np.asarray(image.convert("RGB")) / 255
    scale = max(scale, (size + 1) / min(whole.shape[:2]))
    if scale == 1:
        return whole
    rows, columns = ((np.arange(round(side * scale)) + 0.5) / scale - 0.5 for side in whole.shape[:2])
    places = np.meshgrid(rows, columns, indexing="ij")
    colours = [map_coordinates(whole[:, :, c], places, order=1, mode="nearest") for c in range(3)]
    scaled: Picture = np.stack(colours, axis=2)
    return scaled


def fog(x: Picture, rng: Generator, thickness: float, decay: float) -> Picture:
    """(x + thickness mist) m / (m + thickness),  m = max x."""
    size, top = len(x), x.max()
    mist = plasma(1 << (size - 1).bit_length(), decay, rng)[:size, :size, None]
    foggy: Picture = (x + thickness * mist) * (top / (top + thickness))
    return foggy


def plasma(side: int, decay: float, rng: Generator) -> Layer:
    """A fractal [side, side] from 0 to 1, its side a power of 2, by the diamond-square algorithm on a torus.

    Each midpoint is the mean of four neighbours and a uniform number, whose range falls by `decay` from a scale to the
    next finer one.
    """
    heights, step, wobble = np.zeros((side, side)), side, 100.0

    def displaced(sums: Layer) -> Layer:
        return sums / 4 + wobble * rng.uniform(-wobble, wobble, sums.shape)

    while step >= 2:
        half = step // 2
        corners, centres = heights[::step, ::step], heights[half::step, half::step]
        upright = corners + np.roll(corners, -1, 0)
        centres[:] = displaced(upright + np.roll(upright, -1, 1))
        heights[::step, half::step] = displaced(centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1))
        heights[half::step, ::step] = displaced(centres + np.roll(centres, 1, 1) + upright)
        step, wobble = half, wobble / decay
    fractal: Layer = (heights - heights.min()) / np.ptp(heights)
    return fractal


def brightness(x: Picture, rng: Generator, more: float) -> Picture:
    """Value + more, up to 1, in hue, saturation and value: all three colours grow as their largest does."""
    value = x.max(2, keepdims=True)
    brighter = np.minimum(value + more, 1)
    glaring: Picture = np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter)
    return glaring
