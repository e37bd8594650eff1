"""Digital: lower contrast, elastic deformation, coarse pixels, JPEG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from metaft.data.corruptions.arrays import Layer, Picture


def contrast(x: Picture, rng: Generator, factor: float) -> Picture:
    """m + factor (x - m),  m the mean of each colour."""
    mean: Layer = x.mean((0, 1))
    return mean + factor * (x - mean)


def elastic_transform(x: Picture, rng: Generator, factor: float, deviation: float, shift: float) -> Picture:
    """An affine map that moves three corners of a square by up to `shift` pixels, then smooth random displacements.

    Displacements are factor * G(u), u uniform in [-1, 1] and G a Gaussian blur; both maps interpolate linearly.
    """
    size = len(x)
    near, far = size // 2 - size // 3, size // 2 + size // 3
    corners = np.array([[far, far], [far, near], [near, near]], dtype=float)  # column, row
    shifted = corners + rng.uniform(-shift, shift, corners.shape)
    back = np.linalg.solve(np.column_stack([shifted, np.ones(3)]), corners)  # [3, 2], from (column, row, 1)
    rows, columns = np.mgrid[:size, :size].astype(float)
    from_columns, from_rows = np.tensordot(back, np.stack([columns, rows, np.ones_like(rows)]), (0, 0))
    bent = _taken(x, from_rows, from_columns, "mirror")
    across, down = (
        factor * gaussian_filter(rng.uniform(-1, 1, (size, size)), deviation, mode="reflect", truncate=3) for _ in "xy"
    )
    return _taken(bent, rows + down, columns + across, "reflect")


def _taken(x: Picture, rows: Layer, columns: Layer, border: str) -> Picture:
    """The image at places between its pixels."""
    return np.stack([map_coordinates(x[:, :, c], (rows, columns), order=1, mode=border) for c in range(3)], axis=2)


def pixelate(x: Picture, rng: Generator, share: float) -> Picture:
    """Shrunk to this share of its size and enlarged again, by the mean over each box."""
    size, side = len(x), int(len(x) * share)
    return _pixels(_image(x).resize((side, side), Image.Resampling.BOX).resize((size, size), Image.Resampling.BOX))


def jpeg_compression(x: Picture, rng: Generator, quality: int) -> Picture:
    """Written as JPEG and read again."""
    file = BytesIO()
    _image(x).save(file, "JPEG", quality=quality)
    with Image.open(file) as read:
        return _pixels(read)


def _image(x: Picture) -> Image.Image:
    return Image.fromarray(np.rint(x * 255).astype(np.uint8))


def _pixels(image: Image.Image) -> Picture:
    return np.asarray(image) / 255
