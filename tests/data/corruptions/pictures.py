"""Pictures by formulas in whole numbers, which every machine draws alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from metaft.data.corruptions.photographs import FILES


def picture(size: int) -> np.ndarray:
    """uint8 [S, S, 3]: a slope, waves and rings, with a texture, an edge, and a dark corner."""
    rows, columns = np.mgrid[:size, :size]
    slope = columns * 200 // (size - 1) + (rows * 7 + columns * 13) % 23
    waves = abs((rows * 3 + columns * 2) * 400 // size % 400 - 200) + 27
    rings = abs(((rows - size // 2) ** 2 + (columns - size // 3) ** 2) * 1200 // size**2 % 400 - 200) + 10
    drawn = np.stack([slope, waves, rings], axis=2)
    drawn[size // 2 : size // 2 + size // 8] //= 2
    drawn[: size // 4, : size // 4] //= 16
    drawn[:2, :2] = 0  # black has no hue
    return drawn.astype(np.uint8)


def ice(folder: Path) -> tuple[Path, ...]:
    """Six photographs of other sizes under the names of those of ice."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(FILES):
        rows, columns = np.mgrid[: 330 + 7 * number, : 345 + 4 * number]
        drawn = np.stack([rows * 5 + columns * number, rows * columns // 9, columns * 11], axis=2) % 256
        Image.fromarray(drawn.astype(np.uint8)).save(folder / name, format="PNG")
    return tuple(folder / name for name in FILES)


def sampled(image: np.ndarray) -> np.ndarray:
    """64 pixels of a picture, [8, 8, 3], evenly spread."""
    places = (2 * np.arange(8) + 1) * len(image) // 16
    return image[places][:, places]
