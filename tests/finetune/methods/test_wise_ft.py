"""wise_ft: exact at its ends, and chosen by validation."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.finetune.crossfit import Apart
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.wise_ft import ALPHAS, UNJUDGED, interpolate
from tests.finetune.states import same, with_finetune


def test_it_is_exact_at_its_ends(work, tuned):
    for alpha, end in ((0.0, work.classifier), (1.0, tuned)):
        assert same(interpolate(work.classifier, tuned, alpha), end)
    middle = interpolate(work.classifier, tuned, 0.5)
    torch.testing.assert_close(middle.head.weight, (work.classifier.head.weight + tuned.head.weight) / 2)


def test_it_chooses_by_validation(work, data, context, tuned):
    events: list[dict] = []
    models, rows = {"zero_shot": work.classifier, "ft": tuned}, torch.arange(len(data.ood_val))
    given = replace(context, fitted=models.get, apart=lambda name: [Apart(models[name], data.ood_val, rows)])
    logged = replace(given, log=events.append, chosen={})
    model = METHODS["wise_ft"].fit(work.classifier, data, logged)
    assert [e["alpha"] for e in events] == list(ALPHAS)
    best = max(events, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    assert same(model, interpolate(work.classifier, tuned, best["alpha"]))
    assert logged.chosen == {"alpha": best["alpha"]}


def test_a_mix_can_be_set(work, data, context, tuned):
    models = {"zero_shot": work.classifier, "ft": tuned}
    fixed = with_finetune(replace(context, fitted=models.get, chosen={}), knobs={"wise_ft": {"alpha": 0.25}})
    model = METHODS["wise_ft"].fit(work.classifier, data, fixed)
    assert same(model, interpolate(work.classifier, tuned, 0.25))
    assert fixed.chosen == {}


def test_without_images_to_judge_by_it_goes_half_way(work, data, context, tuned):
    models = {"zero_shot": work.classifier, "ft": tuned}
    unjudged = replace(context, fitted=models.get, apart=lambda _: None, chosen={})
    model = METHODS["wise_ft"].fit(work.classifier, data, unjudged)
    assert same(model, interpolate(work.classifier, tuned, UNJUDGED))
    assert unjudged.chosen == {"alpha": UNJUDGED}
