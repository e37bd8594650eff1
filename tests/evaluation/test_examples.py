"""Examples of what is fixed and broken: the right images, their words, and the very pixels of ood_val."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data.types import Domains, PixelArray, Ready, Split
from metaft.evaluation.examples import SHOWN, SIDE, examples
from metaft.finetune.crossfit import Judged
from metaft.report.run import Examples

NAMES = ("cat", "dog", "owl")


def split_of(labels, size=8):
    n = len(labels)
    pixels = torch.randint(256, (n, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    domains = Domains(("day", "night"), torch.arange(n) % 3 - 1)
    return Split("ood_val", PixelArray(pixels, size), torch.tensor(labels), None, domains=domains)


def judged(said, labels, sure=2.0):
    logits = torch.nn.functional.one_hot(torch.tensor(said), 3).double()
    return Judged(logits * torch.as_tensor(sure).reshape(-1, 1), torch.tensor(labels))


LABELS = [0, 1, 2, 0, 1]
SPLIT = split_of(LABELS)
FOUND = examples(judged([0, 1, 0, 1, 1], LABELS, [1, 2, 3, 4, 5]), judged([1, 2, 2, 1, 1], LABELS), SPLIT, NAMES)


def test_what_is_fixed_and_broken():
    assert (FOUND["images"], FOUND["fixed"]["count"], FOUND["broken"]["count"]) == (5, 2, 1)
    fixed, broken = (FOUND[kind]["shown"] for kind in ("fixed", "broken"))
    assert [(e["label"], e["said"], e["before"], e["domain"]) for e in fixed] == [
        ("dog", "dog", "owl", "day"),  # whose label has gained more
        ("cat", "cat", "dog", None),
    ]
    assert [(e["label"], e["said"], e["before"], e["domain"]) for e in broken] == [("owl", "cat", "owl", "night")]


def test_pictures_are_those_of_the_split():
    picture = FOUND["fixed"]["shown"][0]["picture"]
    assert picture["format"] == "png"
    with Image.open(BytesIO(base64.b64decode(picture["base64"]))) as image:
        np.testing.assert_array_equal(np.asarray(image), SPLIT.source.pixels([1])[0].permute(1, 2, 0))


def test_a_report_reads_what_is_written():
    document = json.dumps({"method": "autoft", "over": "ft", **FOUND})
    assert Examples.model_validate_json(document).fixed.count == 2


def test_large_pictures_are_made_small_and_few_are_kept():
    labels = [0] * (SHOWN + 9)
    found = examples(judged([0] * len(labels), labels), judged([1] * len(labels), labels), split_of(labels, 300), NAMES)
    assert found["fixed"]["count"] == SHOWN + 9
    assert len(found["fixed"]["shown"]) == SHOWN
    with Image.open(BytesIO(base64.b64decode(found["fixed"]["shown"][0]["picture"]["base64"]))) as image:
        assert (image.format, image.size) == ("JPEG", (SIDE, SIDE))


@pytest.mark.parametrize("view", [Ready(8)])
def test_what_has_no_pixels_has_no_picture(view):
    class Numbers:
        def pixels(self, indices):
            return torch.zeros(len(indices), 3, 8, 8)

    odd = replace(SPLIT, source=Numbers(), view=view)
    found = examples(judged([0] * 5, LABELS), judged([2] * 5, LABELS), odd, NAMES)
    assert found["fixed"]["shown"][0]["picture"] is None
