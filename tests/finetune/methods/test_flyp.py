"""flyp: the text tower that it and others need, and the head it makes of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from metaft.clip.classifier import zero_shot
from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS


@pytest.mark.parametrize("name", ["flyp", "car_ft", "lipsum_ft", "carot"])
@pytest.mark.parametrize("absent", ["tokens", "tower"])
def test_it_needs_a_text_tower(work, data, short, name, absent):
    model, context = copy.deepcopy(work.classifier), short
    if absent == "tokens":
        context = short.varied(tokens=None)
    else:
        model.clip = torch.nn.Module()
    with pytest.raises(ConfigError, match=f"'{name}' trains on captions, and this model has no text tower; allowed:"):
        METHODS[name].fit(model, data, context)


def test_its_head_is_the_zero_shot_head_of_its_text_tower(work, fits):
    model = fits.model("flyp")
    clip = replace(work.clip, model=copy.deepcopy(model.clip))
    rebuilt = zero_shot(clip, work.splits.classes)
    torch.testing.assert_close(model.head.weight, rebuilt.head.weight, rtol=1e-4, atol=1e-4)
