"""Cross-fitted judging: predictions in the order of ood_val, whatever the folds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.clip.predict import predict
from metaft.data.folds import folds
from metaft.data.types import Domains
from metaft.finetune.crossfit import Apart, Judged, judge, rows_by_fold


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
    said = torch.stack([predict(model, data.ood_val, 200).argmax(1) for model in models])
    which = torch.isin(torch.arange(len(order)), order.chunk(2)[1]).long()
    expected = said[which, torch.arange(len(order))]
    assert torch.equal(judged.predictions, expected)
    assert torch.equal(judged.correct, expected == data.ood_val.labels)


def test_accuracy():
    assert Judged(torch.zeros(4), torch.tensor([True, False, True, True])).accuracy == 0.75
