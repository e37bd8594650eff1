"""Cross-fitted judging: predictions in the order of ood_val, whatever the folds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metaft.clip.predict import predict
from metaft.data.folds import folds
from metaft.data.types import Domains
from metaft.finetune.crossfit import Apart, Judged, gains, judge, rows_by_fold


def with_domains(split, count: int):
    """The split with its images dealt to named domains."""
    return replace(split, domains=Domains(tuple("abc"[:count]), torch.arange(len(split)) % count))


@pytest.mark.parametrize("domains", [None, 3])
def test_rows_are_those_of_the_folds(data, domains):
    split = data.ood_val if domains is None else with_domains(data.ood_val, domains)
    rows = rows_by_fold(split, 2, 7)
    assert torch.cat([judging for _, judging in rows]).sort().values.tolist() == list(range(len(split)))
    for (fitting, judging), fold in zip(rows, folds(split, 2, 7), strict=True):
        assert not set(fitting.tolist()) & set(judging.tolist())
        assert torch.equal(split.labels[judging], fold.judging.labels)
        some = torch.arange(5)
        assert torch.equal(split.subset(fitting).batch(some).images, fold.fitting.batch(some).images)


def test_a_split_that_cannot_be_dealt_has_none(data):
    assert rows_by_fold(data.ood_val.subset(torch.arange(3)), 2, 0) == []


def test_parts_are_put_in_order(work, data, tuned):
    order = torch.randperm(len(data.ood_val), generator=torch.Generator().manual_seed(0))
    models = (work.classifier, tuned)
    parts = [Apart(m, data.ood_val.subset(rows), rows) for m, rows in zip(models, order.chunk(2), strict=True)]
    judged = judge(parts, 64)
    said = torch.stack([predict(model, data.ood_val, 200) for model in models])
    which = torch.isin(torch.arange(len(order)), order.chunk(2)[1]).long()
    expected = said[which, torch.arange(len(order))]
    torch.testing.assert_close(judged.logits, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(judged.predictions, expected.argmax(1))
    assert torch.equal(judged.correct, expected.argmax(1) == data.ood_val.labels)


def test_accuracy():
    assert Judged(torch.eye(4), torch.tensor([0, 2, 2, 3])).accuracy == 0.75


def test_gains_are_half_of_accuracy_and_half_of_the_loss():
    """The losses at temperatures found by a search over many, 2.5 nats being worth a share of 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    towards = 2 * F.one_hot(labels)  # or no temperature would be the best
    models = [Judged((torch.randn(30, 3, generator=generator) + towards) * scale, labels) for scale in (1.0, 5.0)]

    def best(model):
        tried = [F.cross_entropy(model.logits / 2**s, labels, reduction="none") for s in torch.linspace(-5, 5, 4001)]
        return min(tried, key=lambda losses: float(losses.mean()))

    one, other = models
    right = (one.logits.argmax(1) == labels).double() - (other.logits.argmax(1) == labels).double()
    expected = 0.5 * right + 0.5 * (best(other) - best(one)) / 2.5
    torch.testing.assert_close(gains(one, other), expected, rtol=0, atol=2e-3)
    assert gains(one, one).abs().max() == 0
