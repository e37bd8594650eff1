"""One picture in two parts of a data set is found by its pixels and named."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from metaft import build, config
from metaft.data.duplicates import refuse_shared
from metaft.data.types import PixelArray
from metaft.errors import DataError


def test_a_picture_in_two_folders_is_named(picture_tree):
    words = ["data.format=folder", f"data.root={picture_tree}"]
    build.workspace(config.load(None, words))
    shutil.copy(
        picture_tree / "id_train" / "light_square" / "3.png", picture_tree / "ood_val" / "light_square" / "copy.png"
    )
    with pytest.raises(DataError, match="ood_val: image 20 is image 13 of id_train too; allowed: each image in one of"):
        build.workspace(config.load(None, words))


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("id_train", "ood_val", True),
        ("ood_val", "ood_test/handwritten", True),
        ("id_val", "id_test", True),
        ("id_train", "id_val", False),
        ("id_train", "id_train", False),
    ],
)
def test_which_parts_may_share(work, first, second, refused):
    parts = dict(work.splits.parts)
    pixels = torch.stack([parts[first].source.pixels([4, 5]), parts[second].source.pixels([6, 7])]).flatten(0, 1)
    parts[second] = replace(parts[second], source=PixelArray(pixels, 32), labels=torch.zeros(4, dtype=torch.long))
    refusal = pytest.raises(DataError, match=r"image \d+ of \S+ too.*, and 1 more") if refused else nullcontext()
    with refusal:
        refuse_shared(parts)


def test_pictures_of_one_colour_are_no_evidence(work):
    white = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    blank = replace(work.splits.ood_val, source=PixelArray(white, 32), labels=torch.tensor([0, 1]))
    refuse_shared({"id_train": blank, "ood_val": blank})
