"""Blur: out of focus, behind frosted glass, by a moving camera, by a zoom."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy.ndimage import correlate1d, gaussian_filter, zoom
from scipy.signal import fftconvolve

from metaft.data.corruptions.arrays import Layer, Picture


def defocus_blur(x: Picture, rng: Generator, radius: float, smooth: float) -> Picture:
    """The mean over a disk, whose edge is smoothed; beyond its border the image is mirrored."""
    kernel = _disk(radius, smooth)
    reach = len(kernel) // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    blurred: Picture = fftconvolve(padded, kernel[:, :, None], mode="valid", axes=(0, 1))
    return blurred


def _disk(radius: float, smooth: float) -> Layer:
    """[K, K]: a disk of sum 1, then a Gaussian of 3 taps, or of 5 for a radius beyond 8, mirrored at the border."""
    reach, taps = (8, 3) if radius <= 8 else (math.ceil(radius), 5)
    squares = np.arange(-reach, reach + 1) ** 2
    disk = (squares[:, None] + squares <= radius**2).astype(float)
    weights = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * smooth**2))
    kernel: Layer = disk / disk.sum()
    for axis in (0, 1):
        kernel = correlate1d(kernel, weights / weights.sum(), axis, mode="mirror")
    return kernel


def glass_blur(x: Picture, rng: Generator, deviation: float, reach: int, rounds: int) -> Picture:
    """Blurred, pixels moved by up to `reach` in some rounds, and blurred again."""
    pixels = np.floor(_gaussian(x, deviation) * 255)
    for _ in range(rounds):
        pixels = _moved(pixels, rng, reach)
    return _gaussian(pixels / 255, deviation)


def _gaussian(x: Picture, deviation: float) -> Picture:
    blurred: Picture = gaussian_filter(x, (deviation, deviation, 0), mode="nearest")
    return blurred


def _moved(x: Picture, rng: Generator, reach: int) -> Picture:
    """Each pixel replaced, from the last to the first, by what then lies at a random distance in [-reach, reach).

    The published program means to swap the two, but its arrays are views: the second pixel keeps its value, in
    ImageNet-C as well. Where a pixel comes from is found without a loop over pixels: node p is the pixel p after its
    turn, node N + p before it; a link leads to the node whose value is taken, and links are followed to their ends.
    """
    size, count = len(x), x.shape[0] * x.shape[1]
    numbers = np.arange(count).reshape(size, size)
    inside = slice(reach + 1, size - reach + 1)
    turns = numbers[inside, inside][::-1, ::-1]
    steps = rng.integers(-reach, reach, size=(*turns.shape, 2))
    taken = turns + steps[:, :, 1] * size + steps[:, :, 0]
    links = count + np.tile(numbers.ravel(), 2)
    has_turn = np.zeros(count, bool)
    has_turn[turns] = True
    links[turns] = np.where(has_turn[taken] & (taken > turns), taken, count + taken)
    while not np.array_equal(further := links[links], links):
        links = further
    moved: Picture = x.reshape(count, -1)[links[:count] - count].reshape(x.shape)
    return moved


def motion_blur(x: Picture, rng: Generator, radius: int, deviation: float) -> Picture:
    """Blurred along a line at up to 45 degrees from the horizontal."""
    blurred: Picture = np.rint(moving(x, radius, deviation, rng.uniform(-45, 45)) * 255) / 255
    return blurred


def moving(x: Layer | Picture, radius: int, deviation: float, angle: float) -> Layer | Picture:
    """sum_i w_i x[row + ceil(i sin a - 1/2), column + ceil(i cos a - 1/2)],  i = 0 ... 2 radius.

    a is the angle, in degrees, and w the half of a Gaussian, of sum 1. Beyond its border the image goes on as it ends.

    Source: ImageMagick's MotionBlurImage, with which ImageNet-C was made.
    """
    i = np.arange(2 * radius + 1)
    weights = np.exp(-(i**2) / (2 * deviation**2))
    down, right = (np.ceil(i * f(math.radians(angle)) - 0.5).astype(int) for f in (math.sin, math.cos))
    places, last = np.arange(len(x)), len(x) - 1
    blurred = np.zeros_like(x)
    for weight, rows, columns in zip(weights / weights.sum(), down, right, strict=True):
        blurred += weight * x[np.clip(places + rows, 0, last)][:, np.clip(places + columns, 0, last)]
    return blurred


def zoom_blur(x: Picture, rng: Generator, end: float, distance: float) -> Picture:
    """The mean of the image and of itself enlarged by factors from 1 to an end."""
    factors = np.arange(1, end, distance)
    enlarged = sum((zoomed(x, factor) for factor in factors), start=x)
    return enlarged / (len(factors) + 1)


def zoomed(x: Layer | Picture, factor: float) -> Layer | Picture:
    """The middle of an image enlarged, linearly, to its size."""
    size = len(x)
    side = math.ceil(size / factor)
    first = (size - side) // 2
    middle = x[first : first + side, first : first + side]
    enlarged: Layer = zoom(middle, (factor, factor, 1)[: x.ndim], order=1)
    trim = (len(enlarged) - size) // 2
    return enlarged[trim : trim + size, trim : trim + size]
