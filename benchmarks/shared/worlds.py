"""Worlds: settings of the embedded suites that differ in what should help.

Results are reported on WORLDS; settings of a search are tuned on TUNING alone, which has other ID styles, other styles
of validation and test together, and other sizes, and nothing like far styles, label noise, imbalance or real digits;
and on the pictures of strokes.py, which the model has to learn to read.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """Overrides, as `metaft.config.load` takes them, under a name, and why they make a world of their own."""

    name: str
    reason: str
    settings: tuple[str, ...]


def _shapes(name: str, reason: str, style: str, **options: object) -> World:
    settings = {"style": style, **options}
    return World(name, reason, ("data.format=shapes", *(f"data.options.{key}={v}" for key, v in settings.items())))


WORLDS = (
    _shapes(
        "names_unknown",
        "no class has a name that the model has read, so that a head from names is worth nothing",
        "poster",
        names="unknown",
    ),
    _shapes(
        "names_known",
        "the names tell all and ID's colours mislead, so that staying close to the pretrained model pays",
        "clipart",
        names="known",
        colour_correlation=1.0,
    ),
    _shapes(
        "near_styles",
        "each test style is like one of validation (dark, pale, light lines, soft), whose labels can be trusted",
        "sticker",
        val_styles="[night, pastel, neon, watercolour]",
        test_styles="[noir, fog, blueprint, painting]",
    ),
    _shapes(
        "far_styles",
        "validation is bright and plain, the tests are dark, inverted or bare lines: its labels say little of them",
        "painting",
        val_styles="[clipart, comic, pastel, poster]",
        test_styles="[negative, neon, chalk, noir]",
    ),
    _shapes("few_labels", "20 validation images are too few to choose much by", "poster", ood_val=20),
    _shapes("many_labels", "1,000 validation images are enough to train on", "sticker", ood_val=1000),
    _shapes(
        "label_noise", "three of ten ID labels are false, which a long fine-tune learns", "clipart", label_noise=0.3
    ),
    _shapes("imbalance", "one class has 20 times as many ID images as another", "painting", imbalance=20),
    World("digits", "real handwriting, which a few labels of its own teach best", ("data.format=digits",)),
    _shapes("shapes", "the suite as it is: four names unknown, half-true colours, five styles to five others", "photo"),
)

TUNING = (
    _shapes(
        "plain",
        "as the suite is, in other styles and sizes",
        "comic",
        val_styles="[photo, engraving, fog, silhouette]",
        test_styles="[clipart, night, negative, stamp]",
        id_train=1500,
        ood_val=200,
    ),
    _shapes(
        "unnamed",
        "no class has a name that the model has read",
        "watercolour",
        names="unknown",
        val_styles="[sketch, chalk, mosaic]",
        test_styles="[noir, stamp, comic, sticker]",
        id_train=1200,
        ood_val=150,
    ),
    _shapes(
        "named",
        "every name is known, and colour gives the class away in ID",
        "engraving",
        names="known",
        colour_correlation=0.9,
        val_styles="[negative, poster, neon]",
        test_styles="[pastel, mosaic, painting, silhouette]",
        id_train=1000,
        ood_val=240,
    ),
    _shapes(
        "few",
        "40 validation images",
        "chalk",
        val_styles="[photo, fog, stamp]",
        test_styles="[neon, poster, watercolour, sketch]",
        id_train=1600,
        ood_val=40,
    ),
    _shapes(
        "many",
        "700 validation images",
        "blueprint",
        val_styles="[mosaic, night, silhouette, sketch]",
        test_styles="[photo, negative, pastel, engraving]",
        id_train=1200,
        ood_val=700,
    ),
)
