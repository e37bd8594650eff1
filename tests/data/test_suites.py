"""The embedded suites: seeded per image, split without overlap, colour as a shortcut only in ID."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaft import data
from metaft.data import digits, shapes
from metaft.data.render import uniforms
from metaft.data.styles import COLOURS, STYLES, between, style_rows
from metaft.data.types import ImageView, joined
from metaft.config.schema import DataConfig

VIEW = ImageView(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lambda image: torch.zeros(3, 32, 32, dtype=torch.uint8))


def load(name: str, seed: int = 0, view: ImageView = VIEW, **options):
    return data.load(DataConfig(format=name, options=options), seed, view)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_splits_are_repeatable_and_differ(name):
    first, again, other = (load(name, id_train=n, seed=seed, test=60) for n, seed in ((40, 0), (80, 0), (40, 1)))
    pixels = first.id_train.source.pixels(range(40))
    assert torch.equal(pixels, again.id_train.source.pixels(range(40))), "a size changes no image"
    assert not torch.equal(pixels, other.id_train.source.pixels(range(40)))
    assert not torch.equal(pixels, first.id_val.source.pixels(range(40)))
    assert len(first.id_train) == 40
    assert "id_test" in first.tests
    assert any(split.startswith("ood_test/") for split in first.tests)


def test_an_image_does_not_depend_on_its_batch():
    index = np.arange(600)
    rows, last = style_rows(STYLES)[index % 20], slice(555, 556)
    many = shapes.render(index % 12, rows, index % 12, 3, index)
    one = shapes.render(index[last] % 12, rows[last], index[last] % 12, 3, index[last])
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
    for style in STYLES:
        index = np.arange(n)
        images = shapes.render(index, style_rows([style]).expand(n, -1), index % len(COLOURS), 0, index).float()
        assert images.std(dim=(1, 2, 3)).min() > 3, style


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


def test_real_digits_go_to_one_place_each():
    splits = load("digits", ood_val=300)
    pixels, labels = digits.handwritten()
    assert (len(pixels), pixels.shape[1:]) == (1797, (3, 32, 32))
    parts = [load("digits", ood_val=797).ood_val, splits.tests["ood_test/handwritten"], splits.labelled_half]
    found = torch.cat([p.source.pixels(range(len(p))) for p in parts]).flatten(1)
    assert [len(p) for p in parts] == [797, 500, 500]
    assert len(found.unique(dim=0)) == len(pixels.flatten(1).unique(dim=0)), "every picture, and none twice"
    assert torch.equal(torch.cat([p.labels for p in parts]).bincount(), labels.bincount())
    other = load("digits", seed=1, ood_val=300)
    assert set(splits.ood_val.counts(10)) == {30}
    assert not torch.equal(other.ood_val.source.pixels([0]), splits.ood_val.source.pixels([0]))
    test, same = (s.tests["ood_test/handwritten"].source.pixels(range(500)) for s in (splits, other))
    assert torch.equal(test, same), "the same tests for every seed and size of validation"


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_the_oracle_sees_no_test_image(name):
    splits = load(name, test=100)
    seen = splits.oracle_data
    trained = {bytes(p) for s in (seen.id_train, seen.id_val) for p in s.source.pixels(range(len(s))).numpy()}
    tested = {bytes(p) for s in splits.tests.values() for p in s.source.pixels(range(len(s))).numpy()}
    assert len(trained) == len(splits.labelled_half) == sum(len(t) for k, t in splits.tests.items() if k != "id_test")
    assert not trained & tested


def test_low_label_and_small_validation():
    splits = load("shapes", id_train=120, ood_val=24, test=20)
    assert splits.id_train.counts(12) == [10] * 12
    assert splits.ood_val.counts(12) == [2] * 12


def test_severity_goes_from_the_id_style_to_the_others():
    def spread(severity):
        fog = load("shapes", severity=severity, id_train=20, test=200).tests["ood_test/fog"]
        return float(fog.source.pixels(range(200)).float().std(dim=(1, 2, 3)).mean())

    photo = load(
        "shapes", style="photo", val_styles=["clipart"], test_styles=["sketch"], colour_correlation=0, test=200
    )
    own = float(photo.tests["id_test"].source.pixels(range(200)).float().std(dim=(1, 2, 3)).mean())
    near, half, far = (spread(s) for s in (0.0, 0.5, 1.0))
    assert near == pytest.approx(own, rel=0.1), "pictures like the ID style's"
    assert far < half < near, "fog has little contrast"
    assert between(STYLES["photo"], STYLES["fog"], 0.0) == STYLES["photo"]
    assert between(STYLES["photo"], STYLES["fog"], 1.0) == STYLES["fog"]


def test_style_sets_leave_out_the_id_style():
    assert "fog" in shapes.Options().test_styles
    assert "fog" not in shapes.Options(style="fog").test_styles
    every = {*shapes.Options().val_styles, *shapes.Options().test_styles}
    assert len(every) == len(shapes.Options().val_styles) + len(shapes.Options().test_styles)
    assert "photo" not in every


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"style": "foto"}, "nearest to 'foto': 'photo'"),
        (
            {"val_styles": ["fog"], "test_styles": ["sketch", "fog"]},
            "in one of style, val_styles and test_styles alone, unlike 'fog'",
        ),
        ({"style": "fog", "val_styles": ["fog"]}, "in one of style, val_styles and test_styles alone, unlike 'fog'"),
        ({"test_styles": "tests"}, "allowed: a list of styles, or one of the sets validation, test"),
    ],
)
def test_faulty_styles_are_named(options, words):
    (problem, *_) = data.problems(DataConfig(format="shapes", options=options))
    assert words in str(problem)


def test_any_style_as_id():
    for style in STYLES:
        assert len(load("shapes", style=style, id_train=12, id_val=12, ood_val=12, test=12).id_train) == 12


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_pictures_can_be_drawn_larger(name):
    view = ImageView(64, VIEW.mean, VIEW.std, VIEW.transform)
    fine, coarse = (
        load(name, view=view, size=s, id_train=20, test=20).id_train.source.pixels(range(20)) for s in (64, 32)
    )
    assert fine.shape == coarse.shape == (20, 3, 64, 64)
    smooth = torch.nn.functional.avg_pool2d(fine.float() - coarse.float(), 8)
    assert smooth.abs().mean() < 12, "the same pictures, to the eye"


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


def test_two_splits_as_one():
    splits = load("digits", id_train=30, ood_val=20)
    both = joined("both", splits.id_train, splits.ood_val)
    rows = [45, 3, 30, 29]
    assert torch.equal(both.labels, torch.cat([splits.id_train.labels, splits.ood_val.labels]))
    expected = [splits.ood_val.source.pixels([15, 0]), splits.id_train.source.pixels([3, 29])]
    assert torch.equal(both.source.pixels(rows), torch.cat(expected)[[0, 2, 1, 3]])
    assert torch.equal(both.source.pixels([3]), splits.id_train.source.pixels([3]))
