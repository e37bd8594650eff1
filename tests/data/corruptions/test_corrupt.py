"""Each corruption pixel by pixel against the published programs, and what holds for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metaft.data.corruptions import photographs, weather
from metaft.data.corruptions.corrupt import FUNCTIONS, corrupt
from metaft.data.corruptions.levels import LEVELS, NAMES, SEVERITIES, SIZES, level
from tests.conftest import by_default
from tests.data.corruptions.pictures import ice, picture, sampled

GROWING = (  # whose constants are one strength; others' are several, and depend on where a random angle or place falls
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "zoom_blur"),
    *("brightness", "contrast", "jpeg_compression"),
)
PUBLISHED = Path(__file__).parent / "published.npz"  # see make_published.py


@pytest.fixture(autouse=True)
def drawn_ice(monkeypatch, tmp_path):
    paths = ice(tmp_path / "ice")
    monkeypatch.setattr(weather, "photographs", lambda: paths)


def made(name: str, severity: int, size: int, image=None) -> np.ndarray:
    return corrupt(picture(size) if image is None else image, name, severity, np.random.default_rng([size, severity]))


def test_the_fifteen():
    groups = ("gaussian_noise shot_noise impulse_noise", "defocus_blur glass_blur motion_blur zoom_blur")
    groups += ("snow frost fog brightness", "contrast elastic_transform pixelate jpeg_compression")
    assert tuple(" ".join(groups).split()) == NAMES == tuple(FUNCTIONS)
    for levels in LEVELS.values():
        assert tuple(levels) == SIZES
        assert all(len(of_size) == len(SEVERITIES) for of_size in levels.values())


@pytest.mark.parametrize("size", by_default(SIZES[:2], SIZES))
@pytest.mark.parametrize("name", NAMES)
def test_as_published(name, size):
    """To a level of 255: filters of different libraries are rounded down on either side of a whole number."""
    expected = np.load(PUBLISHED)[f"{name} {size}"].astype(int)
    ours = np.stack([sampled(made(name, severity, size)) for severity in SEVERITIES])
    assert np.abs(ours - expected).max() <= 1
    assert np.abs(expected[4] - sampled(picture(size))).max() > 5, "what is compared is corrupted"


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", NAMES)
def test_properties(name, size):
    clean = picture(size)
    images = [made(name, severity, size) for severity in SEVERITIES]
    assert all((image.shape, image.dtype) == (clean.shape, np.uint8) for image in images)
    assert np.array_equal(made(name, 3, size), images[2]), "the same seed, the same picture"
    assert np.array_equal(clean, picture(size)), "what is given stays as it is"
    distances = [np.abs(image - clean.astype(float)).mean() for image in images]
    assert min(distances) > 0
    assert distances[4] > distances[0] or name == "elastic_transform", "which trades distance for detail as published"
    assert distances == sorted(distances) or name not in GROWING


@pytest.mark.parametrize("name", NAMES)
def test_grey_and_plain_pictures(name):
    grey = np.repeat(picture(32)[:, :, :1], 3, axis=2)
    noise = name in ("gaussian_noise", "shot_noise", "impulse_noise")
    coloured = noise or name in ("frost", "jpeg_compression")
    changed = made(name, 5, 32, grey).astype(int)
    assert coloured or np.ptp(changed, axis=2).max() <= 1
    black = made(name, 5, 32, np.zeros_like(grey))
    assert black.max() <= 1 or name in ("gaussian_noise", "impulse_noise", "snow", "frost", "brightness")


def test_sizes_between():
    """The published size nearest by ratio: 64 and 224 meet at 120, 224 and 299 at 259."""
    nearest = {16: 32, 45: 32, 46: 64, 96: 64, 119: 64, 120: 224, 160: 224, 256: 224, 288: 299, 336: 299, 448: 299}
    for size, published in nearest.items():
        assert level("pixelate", 2, size) == LEVELS["pixelate"][published][1]


def test_noise_has_the_moments_it_should():
    half = np.full((224, 224, 3), 128, np.uint8)
    gaussian, shot, impulse = (made(name, 1, 224, half) / 255 for name in NAMES[:3])
    assert gaussian.std() == pytest.approx(0.08, rel=0.01)
    assert shot.std() == pytest.approx((128 / 255 / 60) ** 0.5, rel=0.01)
    assert (impulse != 128 / 255).mean() == pytest.approx(0.03, rel=0.03)
    assert (impulse == 1).sum() == pytest.approx((impulse == 0).sum(), rel=0.1)


def test_ice_for_large_pictures():
    """The photographs are enlarged until the picture lies within them."""
    assert made("frost", 3, 400).shape == (400, 400, 3)


def test_where_the_photographs_are(monkeypatch, tmp_path):
    monkeypatch.setattr(photographs, "PACKAGE", "frozen_pictures")
    monkeypatch.syspath_prepend(tmp_path)
    assert photographs.photographs() == ()
    (tmp_path / "frozen_pictures").mkdir()
    (tmp_path / "frozen_pictures/__init__.py").write_text("raise ImportError('heavy')")
    assert photographs.photographs() == ()
    paths = ice(tmp_path / "frozen_pictures/frost")
    assert photographs.photographs() == paths
