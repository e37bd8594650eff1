"""fisher_merge: the Fisher information of a linear head in closed form, and the weighted mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.finetune.crossfit import Apart
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.fisher_merge import drawn_log_likelihood, fisher, merged
from metaft.finetune.methods.wise_ft import unlike
from metaft.finetune.slopes import unscaled
from tests.finetune.states import same


def test_the_fisher_information_of_a_head_is_its_closed_form(work, data, context):
    """d log p(y) / d W_c = (1[y = c] - p_c) f, d log p(y) / d b_c = 1[y = c] - p_c."""
    few = context.with_knobs("fisher_merge", {"images": 15})
    found = fisher(work.classifier, ["head.weight", "head.bias"], data, few)
    generator = torch.Generator().manual_seed(few.settings.seed)
    rows = torch.randperm(len(data.id_train), generator=generator)[:15]
    weight, bias = torch.zeros(10, 64), torch.zeros(10)
    with torch.no_grad():
        for row in rows:
            out = work.classifier(data.id_train.batch(row[None]).images)
            p = out.logits[0].softmax(0)
            error = torch.eye(10)[torch.multinomial(p, 1, generator=generator)[0]] - p
            weight += (error[:, None] * out.image_features).square() / 15
            bias += error.square() / 15
    torch.testing.assert_close(found["head.weight"], weight, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found["head.bias"], bias, rtol=1e-4, atol=1e-9)


def test_the_mean_over_draws_is_the_expectation():
    """sum_y p(y) (1[y = c] - p_c)^2 = p_c (1 - p_c)."""
    logits, generator = torch.tensor([[0.3, -1.0, 0.8]], requires_grad=True), torch.Generator().manual_seed(0)
    draws = [torch.autograd.grad(drawn_log_likelihood(logits, generator), logits)[0] for _ in range(4000)]
    p = logits.detach().softmax(1)
    torch.testing.assert_close(torch.stack(draws).square().mean(dim=0), p * (1 - p), rtol=0, atol=0.01)


def test_means(work, tuned):
    begin, end, names = work.classifier, tuned, list(unlike(work.classifier, tuned))
    generator = torch.Generator().manual_seed(0)
    first, last = dict(begin.named_parameters()), dict(end.named_parameters())
    f0, f1 = ({n: torch.rand(first[n].shape, generator=generator) for n in names} for _ in range(2))
    assert same(merged(f0, f1, begin, end, 0.0), begin)
    assert same(merged(f0, f1, begin, end, 1.0), end)
    mean = dict(merged(f0, f1, begin, end, 0.3).named_parameters())
    for n in names:
        a, b = 0.7 * f0[n], 0.3 * f1[n]
        torch.testing.assert_close(mean[n], (a * first[n] + b * last[n]) / (a + b), rtol=1e-4, atol=1e-6)
    none = {n: torch.zeros_like(f) for n, f in f0.items()}
    without = dict(merged(none, none, begin, end, 0.3).named_parameters())
    torch.testing.assert_close(without["head.weight"], 0.7 * begin.head.weight + 0.3 * end.head.weight)


def test_the_mix_is_chosen_as_wise_fts_is(work, data, context, tuned):
    events: list[dict] = []
    models, rows = {"zero_shot": work.classifier, "ft": tuned}, torch.arange(len(data.ood_val))
    given = replace(context, fitted=models.get, apart=lambda name: [Apart(models[name], data.ood_val, rows)])
    logged = replace(given.with_knobs("fisher_merge", {"images": 5}), log=events.append, chosen={})
    METHODS["fisher_merge"].fit(work.classifier, data, logged)
    best = max(events, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    assert logged.chosen == {"alpha": pytest.approx(best["alpha"])}


def test_where_no_loss_is_scaled_small_gradients_are_not_those_of_float16(work, data, context):
    """In float16 most of them are 0; all other precisions have the range of float32."""
    for precision, differentiated in (("float16", "float32"), ("bfloat16", "bfloat16"), ("float32", "float32")):
        assert unscaled(work.classifier.in_precision(precision)).precision == differentiated
    names, few = ["head.weight", "head.bias"], context.with_knobs("fisher_merge", {"images": 3})
    exact = fisher(work.classifier, names, data, few)
    lower = fisher(work.classifier.in_precision("float16"), names, data, few)
    assert all(torch.equal(lower[name], exact[name]) for name in names)
