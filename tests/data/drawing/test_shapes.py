"""Shapes: each image by its number, each class in each style."""

from __future__ import annotations

import numpy as np
import torch

from metaft.data.drawing import shapes
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.styles import COLOURS, STYLES


def test_an_image_does_not_depend_on_its_batch():
    index = np.arange(600)
    rows, last = style_rows(STYLES)[index % 20], slice(555, 556)
    many = shapes.render(index % 12, rows, index % 12, 3, index)
    one = shapes.render(index[last] % 12, rows[last], index[last] % 12, 3, index[last])
    assert torch.equal(many[555], one[0])


def test_every_class_in_every_style_is_drawn():
    n = len(shapes.GLYPHS)
    assert n >= 10
    assert len(STYLES) >= 20
    for style in STYLES:
        index = np.arange(n)
        images = shapes.render(index, style_rows([style]).expand(n, -1), index % len(COLOURS), 0, index).float()
        assert images.std(dim=(1, 2, 3)).min() > 3, style
