"""soup: the mean of models, and the greedy one that is no worse than any of them."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.clip.classifier import holding
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS, soup
from metaft.finetune.methods.soup import greedy, mean
from metaft.finetune.validation import validate
from tests.finetune.states import brief, same, with_finetune


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


def test_members_differ_in_seed_and_learning_rate(work, data, context):
    few = brief(context)
    plain, factors = few.settings.plain, (1.0, 0.5, 2.0, 0.25, 1.0)
    models = [
        train(work.classifier, replace(plain, lr=factor * plain.lr), data, few.varied(seed=seed), "x")
        for seed, factor in enumerate(factors)
    ]
    five = replace(few.with_knobs("soup", {"kind": "uniform", "members": 5}), fitted={"ft": models[0]}.__getitem__)
    assert same(METHODS["soup"].fit(work.classifier, data, five), mean(models))


def test_who_makes_a_greedy_soup_no_worse_joins_it(work, data, short, monkeypatch):
    """Judged by how near the head's bias is to 1.6: 2 begins, 1 joins it, 5 and -3 do not."""
    events, bias = [], work.classifier.head.bias
    models = [holding(work.classifier, {"head.bias": torch.full_like(bias, x)}) for x in (1.0, -3.0, 2.0, 5.0)]
    monkeypatch.setattr(soup, "validate", lambda model, *_: (-abs(float(model.head.bias[0].detach()) - 1.6), 0.0))
    made = greedy(models, data, replace(short, log=events.append))
    torch.testing.assert_close(made.head.bias, torch.full_like(bias, 1.5))
    assert events[0]["members"] == [2, 0]


def test_equals_join_a_greedy_soup(work, data, short, monkeypatch):
    monkeypatch.setattr(soup, "validate", lambda *_: (0.5, 0.5))
    models = [
        holding(work.classifier, {"head.bias": torch.full_like(work.classifier.head.bias, x)}) for x in (1.0, 3.0)
    ]
    assert (greedy(models, data, short).head.bias == 2.0).all()
