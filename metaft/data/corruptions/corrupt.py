"""One image, corrupted in one of fifteen ways at one of five severities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from metaft.data.corruptions import blur, digital, noise, weather
from metaft.data.corruptions.arrays import Picture
from metaft.data.corruptions.levels import level

FUNCTIONS: dict[str, Callable[..., Picture]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}


def corrupt(image: NDArray[np.uint8], name: str, severity: int, rng: Generator) -> NDArray[np.uint8]:
    """A corruption of an image, cut off at 0 and 255 and rounded down: what ImageNet-C holds, before its last JPEG.

    Random numbers are drawn in the order of the published program, and the same generator gives the same image.

    Args:
        image: uint8 [S, S, 3].
        severity: from 1 to 5; its constants depend on S, see `metaft.data.corruptions.levels.level`.

    Source: Hendrycks and Dietterich, ICLR 2019, section 4 and github.com/hendrycks/robustness. Motion is computed as
    ImageMagick does, without it; `frost` needs `metaft.data.corruptions.photographs`.
    """
    changed = FUNCTIONS[name](image / 255, rng, *level(name, severity, len(image)))
    return (np.clip(changed, 0, 1) * 255).astype(np.uint8)
