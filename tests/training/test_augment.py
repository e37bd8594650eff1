"""Augmentation: crops against torchvision's, drawn as its own are, and from a seed alone."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, resized_crop

from metaft.training.augment import AUGMENTS, Augment, cropped

SIZE = 32


@pytest.fixture(scope="module")
def images():
    """Smooth ones, so that what lies just outside a crop tells little."""
    coarse = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic")


def test_the_whole_image_is_itself_and_a_mirrored_one_is_flipped(images):
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(4, 1)
    assert torch.allclose(cropped(images, whole), images, atol=1e-5)
    mirrored = torch.tensor([[1.0, 0.0, -1.0, 1.0]]).repeat(4, 1)
    assert torch.allclose(cropped(images, mirrored), images.flip(3), atol=1e-5)


@pytest.mark.parametrize("box", [(2, 3, 29, 28), (0, 0, 31, 30), (4, 0, 28, 32)])
def test_a_crop_is_torchvisions(images, box):
    """But for a margin, where torchvision repeats the crop's edge and this reads on in the image."""
    left, top, width, height = box
    expected = resized_crop(images, top, left, height, width, [SIZE, SIZE], InterpolationMode.BICUBIC, antialias=False)
    ours = cropped(images, torch.tensor([box]).repeat(4, 1) / SIZE)
    assert torch.allclose(ours[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], atol=1e-4)
    assert not torch.allclose(ours, images, atol=1e-2)


@pytest.mark.parametrize("augment", [Augment(), Augment(scale=(0.2, 0.9), ratio=(0.5, 2.0))])
def test_crops_are_drawn_as_torchvision_draws_them(augment):
    """In the quartiles of width, height and corner, over images large enough for rounding not to matter."""
    n, side = 4000, 2000
    left, top, width, height = augment.boxes(n, torch.Generator().manual_seed(1)).unbind(1)
    assert ((left >= 0) & (top >= 0) & (left + width <= 1 + 1e-6) & (top + height <= 1 + 1e-6)).all()
    blank = torch.zeros(1, side, side)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        theirs = [RandomResizedCrop.get_params(blank, list(augment.scale), list(augment.ratio)) for _ in range(n)]
    i, j, h, w = (torch.tensor(values) / side for values in zip(*theirs, strict=True))
    q = torch.tensor([0.25, 0.5, 0.75])
    for ours, expected in ((left, j), (top, i), (width, w), (height, h)):
        # three standard errors of a quartile of n draws from a density of at least 1 / their range
        spread = float(expected.max() - expected.min())
        assert torch.allclose(ours.quantile(q), expected.quantile(q), atol=3 * spread * math.sqrt(2 / n))


def test_flips_have_their_probability():
    mirrored = (Augment(flip=0.3).boxes(5000, torch.Generator().manual_seed(0))[:, 2] < 0).double().mean()
    assert float(mirrored) == pytest.approx(0.3, abs=3 * (0.3 * 0.7 / 5000) ** 0.5)
    assert not (Augment().boxes(5000, torch.Generator().manual_seed(0))[:, 2] < 0).any()


def test_a_crop_that_never_fits_is_the_whole_image():
    boxes = Augment(scale=(1.0, 1.0), ratio=(2.0, 3.0)).boxes(3, torch.Generator())
    assert torch.equal(boxes, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(3, 1))


@pytest.mark.parametrize("name", ["crop", "crop_flip"])
def test_the_seed_alone_decides(images, name):
    augment = AUGMENTS[name]
    assert torch.equal(augment(images, 3), augment(images, 3))
    assert not torch.equal(augment(images, 3), augment(images, 4))
