"""The embedded suites and the shipped checkpoint are what their version says.

Where this fails, pictures or weights have changed: raise `metaft.data.SUITE_VERSION`, add a line here, and measure
every committed result again. Hashes are of pixels, which are the same with and without vector instructions on x86-64.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from metaft import data
from metaft.clip.embedded import TOY, checkpoint
from metaft.config import DataConfig
from metaft.data import SUITE_VERSION, digits, shapes
from metaft.data.styles import COLOURS, STYLES, style_rows
from metaft.data.types import ImageView

VIEW = ImageView(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lambda image: torch.zeros(3, 32, 32, dtype=torch.uint8))
FROZEN = {
    1: {
        "generator": "1d92601bcb7b4b9c",
        "shapes": "ae06520f0e26540c",
        "digits": "22faf32bcf1cc962",
        "toy-clip": "2893f01b11847f93",
    },
}


def generator() -> str:
    """Every class in every style, and every hand."""
    i = np.arange(480)
    rows = style_rows(STYLES)[i % len(STYLES)]
    a = shapes.render(i // 20 % len(shapes.GLYPHS), rows, i * 7 % len(COLOURS), 5, i)
    b = digits.render(i // 20 % 10, i // 4 % len(digits.HANDS), rows, i * 7 % len(COLOURS), 5, i)
    return hashlib.sha256(torch.cat([a, b]).numpy().tobytes()).hexdigest()[:16]


def suite(name: str) -> str:
    """Labels of every split and its first images, at the default settings."""
    digest = hashlib.sha256()
    for name_of_split, split in sorted(data.load(DataConfig(format=name), 0, VIEW).parts.items()):
        digest.update(name_of_split.encode() + split.labels.numpy().tobytes())
        digest.update(split.source.pixels(range(100)).numpy().tobytes())
    return digest.hexdigest()[:16]


def test_nothing_has_changed_under_this_version():
    weights = hashlib.sha256(checkpoint(TOY, 0).read_bytes()).hexdigest()[:16]
    found = {"generator": generator(), **{name: suite(name) for name in ("shapes", "digits")}, TOY: weights}
    assert found == FROZEN[SUITE_VERSION], "see the top of this file"
