"""wise_ft: exact at its ends, and chosen by validation."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.finetune.methods import METHODS
from metaft.finetune.methods.wise_ft import ALPHAS, interpolate
from tests.finetune.states import same


def test_it_is_exact_at_its_ends(work, tuned):
    for alpha, end in ((0.0, work.classifier), (1.0, tuned)):
        assert same(interpolate(work.classifier, tuned, alpha), end)
    middle = interpolate(work.classifier, tuned, 0.5)
    torch.testing.assert_close(middle.head.weight, (work.classifier.head.weight + tuned.head.weight) / 2)


def test_it_chooses_by_validation(work, data, context, tuned):
    events: list[dict] = []
    logged = replace(context, fitted=lambda _: tuned, log=events.append)
    model = METHODS["wise_ft"].fit(work.classifier, data, logged)
    assert [e["alpha"] for e in events] == list(ALPHAS)
    best = max(events, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    assert same(model, interpolate(work.classifier, tuned, best["alpha"]))
