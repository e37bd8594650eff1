"""The shapes suite: colour as a shortcut in ID alone, styles and severity."""

from __future__ import annotations

import pytest
import torch

from metaft.config.schema import DataConfig
from metaft.data import registry, shapes
from metaft.data.drawing.styles import STYLES, between
from tests.data.suites import load


def test_colour_tells_the_class_in_id_only():
    """A classifier that sees mean colours alone beats chance by far in ID, and hardly in OOD."""
    splits = load("shapes", id_train=1200, colour_correlation=0.9, test=400, test_styles=["fog"])

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


def test_low_label_and_small_validation():
    splits = load("shapes", id_train=120, ood_val=24, test=20)
    assert splits.id_train.counts(12) == [10] * 12
    assert splits.ood_val.counts(12) == [2] * 12


def test_severity_goes_from_the_id_style_to_the_others():
    def spread(severity):
        fog = load("shapes", severity=severity, test_styles=["fog"], test=200).tests["ood_test/fog"]
        return float(fog.source.pixels(range(200)).float().std(dim=(1, 2, 3)).mean())

    photo = load(
        "shapes", style="photo", val_styles=["clipart"], test_styles=["sketch"], colour_correlation=0, test=200
    )
    there = float(photo.tests["id_test"].source.pixels(range(200)).float().std(dim=(1, 2, 3)).mean())
    near, half, far = (spread(s) for s in (0.0, 0.5, 1.0))
    assert near == pytest.approx(there, rel=0.1), "pictures like the ID style's"
    assert far < half < near, "fog has little contrast"
    assert between(STYLES["photo"], STYLES["fog"], 0.0) == STYLES["photo"]
    assert between(STYLES["photo"], STYLES["fog"], 1.0) == STYLES["fog"]


def test_validation_may_be_milder_than_the_tests():
    def pictures(split):
        return split.source.pixels(range(len(split)))

    whole, mild = (load("shapes", ood_val=30, test=20, **options) for options in ({}, {"val_severity": 0.5}))
    halved = load("shapes", ood_val=30, test=20, severity=0.5)
    assert torch.equal(pictures(mild.ood_val), pictures(halved.ood_val))
    assert not torch.equal(pictures(mild.ood_val), pictures(whole.ood_val))
    for name, split in whole.tests.items():
        assert torch.equal(pictures(split), pictures(mild.tests[name]))


def test_style_sets_leave_out_the_id_style():
    assert "fog" in shapes.Options().test_styles
    assert "fog" not in shapes.Options(style="fog").test_styles
    every = {*shapes.Options().val_styles, *shapes.Options().test_styles}
    assert len(every) == len(shapes.Options().val_styles) + len(shapes.Options().test_styles)
    assert "photo" not in every


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"style": "foto"}, "nearest: 'photo'"),
        (
            {"val_styles": ["fog"], "test_styles": ["sketch", "fog"]},
            "in one of style, val_styles and test_styles alone, unlike 'fog'",
        ),
        ({"style": "fog", "val_styles": ["fog"]}, "in one of style, val_styles and test_styles alone, unlike 'fog'"),
        ({"test_styles": "tests"}, "allowed: a list of styles, or one of the sets validation, test"),
    ],
)
def test_faulty_styles_are_named(options, words):
    (fault, *_) = registry.faults(DataConfig(format="shapes", options=options))
    assert words in str(fault)


def test_any_style_as_id():
    for style in STYLES:
        assert len(load("shapes", style=style, id_train=12, id_val=12, ood_val=12, test=12).id_train) == 12


def test_every_validation_image_names_its_style():
    """Alone, a style gives the same pictures as the images of its domain."""
    styles = ["neon", "noir"]
    split = load("shapes", val_styles=styles, ood_val=200).ood_val
    assert split.domains.names == ("neon", "noir")
    light = split.source.pixels(range(200)).float().mean(dim=(1, 2, 3))
    alone = {s: load("shapes", val_styles=[s], ood_val=200).ood_val.source.pixels(range(200)) for s in styles}
    for number, style in enumerate(styles):
        rows = (split.domains.numbers == number).nonzero()[:, 0]
        assert len(rows) > 50
        assert torch.equal(light[rows], alone[style][rows].float().mean(dim=(1, 2, 3)))
