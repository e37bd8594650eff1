"""soup: the mean of models, and the greedy one that is no worse than any of them."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.finetune.methods import METHODS
from metaft.finetune.methods.soup import greedy, mean
from metaft.finetune.validation import validate
from tests.finetune.states import same, with_finetune


def test_soups(few, short, fits):
    data, models = few.splits.search_data, [fits.model("ft"), fits.model("kd"), fits.model("ema")]
    average = mean(models)
    expected = (models[0].head.weight + models[1].head.weight + models[2].head.weight) / 3
    torch.testing.assert_close(average.head.weight, expected)
    scores = [validate(m, data, short) for m in models]
    assert validate(greedy(models, data, short), data, short) >= max(scores)
    uniform = with_finetune(replace(short, fitted=fits.model), knobs={"soup": {"kind": "uniform", "members": 2}})
    model = METHODS["soup"].fit(few.classifier, data, uniform)
    assert not same(model, fits.model("ft"))
