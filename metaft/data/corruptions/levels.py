"""How strong each corruption is: its published constants by severity, for images of 32, 64, 224 and 299 pixels.

Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR
2019; the constants are those of github.com/hendrycks/robustness, with which CIFAR-10-C, Tiny ImageNet-C, ImageNet-C and
its version for Inception were made.
"""

from __future__ import annotations

import math

SIZES = (32, 64, 224, 299)
SEVERITIES = (1, 2, 3, 4, 5)
Level = tuple[float, ...]
Levels = tuple[Level, ...]  # one for each severity


def _each(*values: float) -> Levels:
    """The levels of a corruption with one constant."""
    return tuple((value,) for value in values)


def _times(unit: float, *levels: Level) -> Levels:
    return tuple(tuple(unit * value for value in level) for level in levels)


LEVELS: dict[str, dict[int, Levels]] = {
    "gaussian_noise": {  # standard deviation
        32: _each(0.04, 0.06, 0.08, 0.09, 0.10),
        64: _each(0.04, 0.08, 0.12, 0.15, 0.18),
        224: _each(0.08, 0.12, 0.18, 0.26, 0.38),
        299: _each(0.09, 0.13, 0.19, 0.27, 0.40),
    },
    "shot_noise": {  # photons of a white pixel
        32: _each(500, 250, 100, 75, 50),
        64: _each(250, 100, 50, 30, 15),
        224: _each(60, 25, 12, 5, 3),
        299: _each(50, 20, 10, 5, 3),
    },
    "impulse_noise": {  # share of the values that are replaced
        32: _each(0.01, 0.02, 0.03, 0.05, 0.07),
        64: _each(0.01, 0.02, 0.05, 0.08, 0.14),
        224: _each(0.03, 0.06, 0.09, 0.17, 0.27),
        299: _each(0.04, 0.07, 0.10, 0.18, 0.28),
    },
    "defocus_blur": {  # radius of the disk, deviation by which its edge is smoothed
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        299: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    },
    "glass_blur": {  # deviation of the blur, how far pixels move, rounds of moves
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        299: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    },
    "motion_blur": {  # radius, deviation
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        299: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    },
    "zoom_blur": {  # where the factors end, their distance
        32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        299: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    },
    "snow": {  # flakes: mean, deviation, zoom, threshold; motion: radius, deviation; the image's share beside its white
        32: (
            *((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9)),
            *((0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
        ),
        64: (
            *((0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7)),
            *((0.25, 0.3, 2.25, 0.6, 12, 6, 0.65), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
        ),
        224: (
            *((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7)),
            *((0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        ),
        299: (
            *((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7)),
            *((0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        ),
    },
    "frost": {  # shares of the image and of the ice, size of the ice's photograph
        32: ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        64: ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        224: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        299: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    },
    "fog": {  # thickness, by how much each finer scale of the mist is weaker
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        299: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    },
    "brightness": {  # added to the largest of the three colours
        32: _each(0.05, 0.1, 0.15, 0.2, 0.3),
        64: _each(0.1, 0.2, 0.3, 0.4, 0.5),
        224: _each(0.1, 0.2, 0.3, 0.4, 0.5),
        299: _each(0.1, 0.2, 0.3, 0.4, 0.5),
    },
    "contrast": {  # factor of the distance to the mean colour
        32: _each(0.75, 0.5, 0.4, 0.3, 0.15),
        64: _each(0.4, 0.3, 0.2, 0.1, 0.05),
        224: _each(0.4, 0.3, 0.2, 0.1, 0.05),
        299: _each(0.4, 0.3, 0.2, 0.1, 0.05),
    },
    "elastic_transform": {  # pixels: factor and smoothness of the displacements, shift of the corners
        32: _times(32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        64: _times(64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        # not 224: so they were published
        224: _times(244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
        299: _times(360, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    },
    "pixelate": {  # size of the image that is enlarged again
        32: _each(0.95, 0.9, 0.85, 0.75, 0.65),
        64: _each(0.9, 0.8, 0.7, 0.6, 0.5),
        224: _each(0.6, 0.5, 0.4, 0.3, 0.25),
        299: _each(0.5, 0.4, 0.3, 0.25, 0.2),
    },
    "jpeg_compression": {  # quality
        32: _each(80, 65, 58, 50, 40),
        64: _each(65, 58, 50, 40, 25),
        224: _each(25, 18, 15, 10, 7),
        299: _each(23, 16, 13, 8, 5),
    },
}
NAMES = tuple(LEVELS)


def level(name: str, severity: int, size: int) -> Level:
    """The constants of a corruption for images of S x S pixels: those of the published size nearest to S by ratio.

    So 96 pixels take those of 64, 256 those of 224, and 336 those of 299.
    """
    nearest = min(SIZES, key=lambda published: abs(math.log(size / published)))
    return LEVELS[name][nearest][severity - 1]
