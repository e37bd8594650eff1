"""The embedded suites and the shipped checkpoint are what their version says.

Where this fails, pictures or weights have changed: raise SUITE_VERSION and PICTURES in `metaft.data.registry`, run this
file as a script, which writes the new version's means, add its hashes here, and measure every committed result again.
Labels and weights are compared by hash. Pictures are compared by the mean of each channel of each image: processors
round differently, which was seen to move one pixel in three million by one level, and a mean by 0.001.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from metaft.clip.embedded import checkpoint
from metaft.clip.names import TOY
from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.drawing import digits, shapes
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.pool import SEED, pool
from metaft.data.drawing.styles import COLOURS, STYLES
from metaft.data.registry import PICTURES
from metaft.data.types import ImageView

VIEW = ImageView(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lambda image: torch.zeros(3, 32, 32, dtype=torch.uint8))
MEANS = Path(__file__).parent / f"frozen-{PICTURES}.npz"
HASHES = {1: {"shapes": "5c2fdd7be09b0033", "digits": "1c9c729c19839c9e", "toy-clip": "2893f01b11847f93"}}
ROUNDING = 0.01  # of a mean, in levels of 0 to 255: ten pixels by one level
SUITES = {"shapes": shapes, "digits": digits}
FEW = {"id_train": 100, "id_val": 100, "ood_val": 100, "test": 100}  # a size changes no image


def means(pixels: torch.Tensor) -> np.ndarray:
    """uint8 [B, 3, S, S] to [B, 3]."""
    return pixels.double().mean(dim=(2, 3)).numpy()


def pictures() -> dict[str, np.ndarray]:
    """Every class in every style and every hand; the first images of every split, but for sizes at the defaults."""
    i = np.arange(480)
    rows = style_rows(STYLES)[i % len(STYLES)]
    channels = {
        "drawn": means(shapes.render(i // 20 % len(shapes.GLYPHS), rows, i * 7 % len(COLOURS), 5, i)),
        "written": means(digits.render(i // 20 % 10, i // 4 % len(digits.HANDS), rows, i * 7 % len(COLOURS), 5, i)),
    }
    for name in SUITES:
        for part, split in registry.load(DataConfig(format=name, options=FEW), 0, VIEW).parts.items():
            channels[f"{name}/{part}"] = means(split.source.pixels(range(100)))
    channels["pool"] = means(pool(SEED, 400).pixels(range(400), 32))  # of pretraining, as for the shipped weights
    return channels


def blank(classes, *_, size: int) -> torch.Tensor:
    """Pictures of nothing: labels do not depend on them."""
    return torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(len(classes), 3, size, size)


def hashes() -> dict[str, str]:
    """Labels of every split of each suite at the default settings, and the shipped weights."""
    digests = {}
    for name, drawing in SUITES.items():
        digest = hashlib.sha256()
        with patch.object(drawing, "render", blank):
            splits = registry.load(DataConfig(format=name), 0, VIEW)
        for part, split in sorted(splits.parts.items()):
            digest.update(part.encode() + split.labels.numpy().tobytes())
        digests[name] = digest.hexdigest()[:16]
    return {**digests, TOY: hashlib.sha256(checkpoint(TOY, 0).read_bytes()).hexdigest()[:16]}


def test_labels_and_weights_have_not_changed_under_this_version():
    assert hashes() == HASHES[PICTURES], "see the top of this file"


def test_pictures_have_not_changed_under_this_version():
    expected, drawn = dict(np.load(MEANS)), pictures()
    assert set(drawn) == set(expected), "see the top of this file"
    for name, value in expected.items():
        assert value.std() > 1
        np.testing.assert_allclose(
            drawn[name], value, rtol=0, atol=ROUNDING, err_msg=f"{name}: see the top of this file"
        )


if __name__ == "__main__":
    np.savez_compressed(MEANS, **pictures())
    print(hashes())
