"""Predictions on a split of which not all classes are answers."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from metaft.clip.predict import competing, predict
from metaft.errors import DivergedError
from metaft.evaluation.scores import evaluate
from metaft.metrics import accuracy


def test_answers_compete_by_the_best_of_their_classes():
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    found = competing(logits, torch.tensor([0, -1, 2, 0, 2]))
    for row, ours in zip(logits.tolist(), found.tolist(), strict=True):
        assert ours == [max(row[0], row[3]), -math.inf, max(row[2], row[4]), -math.inf, -math.inf]
    assert torch.equal(competing(logits, torch.arange(5)), logits)


def test_a_split_is_scored_among_its_answers(work):
    split = work.splits.tests["id_test"]
    kept = split.labels.lt(4).nonzero()[:, 0]
    narrow = replace(split.subset(kept), answers=torch.tensor([0, 1, 2, 3, -1, -1, -1, -1, -1, -1]))
    found = evaluate(work.classifier, {"narrow": narrow}, batch_size=25, resamples=100, seed=0)["narrow"]
    logits = predict(work.classifier, split, 25)[kept]
    among_four, among_all = (accuracy(part, split.labels[kept]) for part in (logits[:, :4], logits))
    assert found.metrics["accuracy"] == among_four > among_all
    assert all(math.isfinite(value) for value in found.metrics.values())
    part = narrow.subset(torch.tensor([2, 0]))
    assert predict(work.classifier, part, 25).isfinite().sum(1).tolist() == [4, 4]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_no_answers(work, value):
    """The largest of them would be counted as a class."""
    broken, split = copy.deepcopy(work.classifier), work.splits.tests["id_test"]
    with torch.no_grad():
        broken.head.weight[3] = value
    with pytest.raises(DivergedError, match=r"id_test: diverged \(of (\d+) of \1 images the logits are not finite\)"):
        predict(broken, split, 25)
