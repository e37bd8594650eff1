"""The embedded suites: seeded per image, split without overlap, colour as a shortcut only in ID."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaft import data
from metaft.config import DataConfig
from metaft.data import digits, shapes
from metaft.data.render import uniforms
from metaft.data.styles import COLOURS, STYLES
from metaft.data.types import ImageView

VIEW = ImageView(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lambda image: torch.zeros(3, 32, 32, dtype=torch.uint8))


def load(name: str, seed: int = 0, view: ImageView = VIEW, **options):
    return data.load(DataConfig(format=name, options=options), seed, view)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_splits_are_repeatable_and_differ(name):
    first, again, other = load(name, id_train=40), load(name, id_train=80), load(name, seed=1, id_train=40)
    pixels = first.id_train.source.pixels(range(40))
    assert torch.equal(pixels, again.id_train.source.pixels(range(40))), "a size changes no image"
    assert not torch.equal(pixels, other.id_train.source.pixels(range(40)))
    assert not torch.equal(pixels, first.id_val.source.pixels(range(40)))
    assert len(first.id_train) == 40
    assert "id_test" in first.tests
    assert any(split.startswith("ood_test/") for split in first.tests)


def test_an_image_does_not_depend_on_its_batch():
    index = np.arange(600)
    many = shapes.render(index % 12, index % 20, index % 12, 3, index)
    one = shapes.render(index[555:556] % 12, index[555:556] % 20, index[555:556] % 12, 3, index[555:556])
    assert torch.equal(many[555], one[0])


def test_uniforms_are_uniform():
    u = uniforms(1, np.arange(20_000), 3)
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean(0) == pytest.approx([0.5] * 3, abs=0.01)
    assert u.var(0) == pytest.approx([1 / 12] * 3, abs=0.002)
    assert abs(np.corrcoef(u.T.numpy()) - np.eye(3)).max() < 0.03


def test_every_class_in_every_style_is_drawn():
    n = len(shapes.GLYPHS)
    assert n >= 10
    assert len(STYLES) >= 20
    for s in range(len(STYLES)):
        index = np.arange(n)
        images = shapes.render(index, np.full(n, s), index % len(COLOURS), 0, index).float()
        assert images.std(dim=(1, 2, 3)).min() > 3, list(STYLES)[s]


def test_colour_tells_the_class_in_id_only():
    """A classifier that sees mean colours alone beats chance by far in ID, and hardly in OOD."""
    splits = load("shapes", id_train=2400, colour_correlation=0.9, test=600)

    def colours(split):
        pixels = split.source.pixels(range(len(split))).float()
        return pixels[:, :, 12:20, 12:20].mean(dim=(2, 3)), split.labels

    x, y = colours(splits.id_train)
    means = torch.stack([x[y == k].mean(0) for k in range(12)])

    def score(split):
        features, labels = colours(split)
        return float((torch.cdist(features, means).argmin(1) == labels).float().mean())

    assert score(splits.tests["id_test"]) > 0.3
    assert score(splits.tests["ood_test/fog"]) < 0.2


def test_real_digits_go_to_validation_or_test_never_both():
    splits = load("digits", ood_val=300)
    pixels, labels = digits.handwritten()
    assert (len(pixels), pixels.shape[1:]) == (1797, (3, 32, 32))
    test = splits.tests["ood_test/handwritten"]
    assert (len(splits.ood_val), len(test)) == (300, 1497)
    assert torch.equal(torch.cat([splits.ood_val.labels, test.labels]), labels)
    assert torch.equal(test.source.pixels([0])[0], pixels[300])
    assert min(splits.ood_val.counts(10)) >= 20


def test_another_model_size_enlarges():
    large = ImageView(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), lambda image: torch.zeros(3, 64, 64, dtype=torch.uint8))
    batch = load("digits", view=large, id_train=8).id_train.batch(torch.arange(8))
    assert batch.images.shape == (8, 3, 64, 64)
    assert 0 <= batch.images.min() <= batch.images.max() <= 1


def test_batches_cover_a_split_in_order():
    split = load("digits", id_train=25).id_train
    batches = list(split.batches(10))
    assert torch.cat([b.indices for b in batches]).tolist() == list(range(25))
    assert torch.equal(torch.cat([b.labels for b in batches]), split.labels)
    part = split.subset(torch.tensor([3, 1]))
    assert torch.equal(part.batch(torch.tensor([1])).images, split.batch(torch.tensor([1])).images)
