"""Noise of sensors: gaussian, shot and impulse noise."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from metaft.data.corruptions.arrays import Picture


def gaussian_noise(x: Picture, rng: Generator, deviation: float) -> Picture:
    """x + n,  n ~ N(0, deviation^2) for each value: as in low light."""
    return x + rng.normal(scale=deviation, size=x.shape)


def shot_noise(x: Picture, rng: Generator, photons: float) -> Picture:
    """n / photons,  n ~ Poisson(photons x): light is discrete."""
    return rng.poisson(x * photons) / photons


def impulse_noise(x: Picture, rng: Generator, share: float) -> Picture:
    """Each value replaced with this probability, by 0 or 1 alike: salt and pepper in each colour."""
    replaced, salt = rng.random(x.shape) <= share, rng.random(x.shape) <= 0.5
    return np.where(replaced, salt, x)
