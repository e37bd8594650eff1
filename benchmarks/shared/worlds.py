"""Settings of the embedded suites in which different methods are best.

WORLDS are reported and nothing is tuned on them; TUNING are for that, with seeds from 1000 on. Four of the reported
kinds (names that say nothing, names that say all, wrong labels, a long tail) have no counterpart among the latter.
tests/test_worlds.py freezes what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """A setting of an embedded suite.

    Args:
        reason: what makes it unlike the others, in one line.
        settings: key=value on top of the defaults.
    """

    name: str
    reason: str
    settings: tuple[str, ...]


def _shapes(name: str, reason: str, style: str, **options: str) -> World:
    given = {"style": style, **options}
    return World(name, reason, ("data.format=shapes", *(f"data.options.{key}={value}" for key, value in given.items())))


NEAR = {"val_styles": "[sketch, pastel, blueprint]", "test_styles": "[engraving, watercolour, neon]"}
FAR = {"val_styles": "[sticker, comic, poster]", "test_styles": "[negative, silhouette, fog, chalk]"}
WORLDS = (
    _shapes("photo", "the suite as it is: eight known names, four unknown ones, colour helps in ID", "photo"),
    _shapes("names_unknown", "no name was in any caption: features alone know the objects", "photo", names="unknown"),
    _shapes(
        "names_known",
        "every name was in captions, and colour gives the class away in ID alone: to move is to lose",
        "poster",
        names="known",
        colour_correlation="1.0",
    ),
    _shapes("near_styles", "validation styles like the tests': what helps there helps here", "clipart", **NEAR),
    _shapes("far_styles", "bright validation styles, dark and pale tests: labels say little", "clipart", **FAR),
    _shapes("few_labels", "20 OOD validation images: noise rules every choice", "photo", ood_val="20"),
    _shapes("many_labels", "1,000 OOD validation images: enough to train on", "photo", ood_val="1000"),
    _shapes(
        "label_noise",
        "three of ten ID labels are wrong: the longer the training, the worse",
        "watercolour",
        label_noise="0.3",
    ),
    _shapes("imbalance", "the first class has twenty times the images of the last", "poster", imbalance="20"),
    World(
        "digits",
        "one real domain: training on its labels beats all else",
        ("data.format=digits",),
    ),
)
TUNING = (
    _shapes("poster", "another ID style", "poster"),
    _shapes(
        "watercolour",
        "another ID style, other validation and test styles",
        "watercolour",
        val_styles="[chalk, blueprint, comic]",
        test_styles="[engraving, sticker, clipart]",
    ),
    _shapes(
        "thirty_labels",
        "few labels of two styles",
        "poster",
        ood_val="30",
        val_styles="[blueprint, watercolour]",
        test_styles="[comic, fog, night]",
    ),
    _shapes(
        "dark_to_light",
        "dark validation styles, light tests",
        "clipart",
        val_styles="[negative, neon]",
        test_styles="[painting, watercolour, pastel]",
    ),
    World("hundred_digits", "a quarter of the labels", ("data.format=digits", "data.options.ood_val=100")),
)
