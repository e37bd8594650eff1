"""The digits suite: real pictures go to one place each."""

from __future__ import annotations

import torch

from metaft.data.drawing import digits
from tests.data.suites import load


def test_real_digits_go_to_one_place_each():
    splits = load("digits", ood_val=300)
    pixels, labels = digits.handwritten()
    assert (len(pixels), pixels.shape[1:]) == (1797, (3, 32, 32))
    parts = [load("digits", ood_val=797).ood_val, splits.tests["ood_test/handwritten"], splits.labelled_half]
    dealt = torch.cat([p.source.pixels(range(len(p))) for p in parts]).flatten(1)
    assert [len(p) for p in parts] == [797, 500, 500]
    assert len(dealt.unique(dim=0)) == len(pixels.flatten(1).unique(dim=0)), "every picture, and none twice"
    assert torch.equal(torch.cat([p.labels for p in parts]).bincount(), labels.bincount())
    other = load("digits", seed=1, ood_val=300)
    assert set(splits.ood_val.counts(10)) == {30}
    assert not torch.equal(other.ood_val.source.pixels([0]), splits.ood_val.source.pixels([0]))
    test, same = (s.tests["ood_test/handwritten"].source.pixels(range(500)) for s in (splits, other))
    assert torch.equal(test, same), "the same tests for every seed and size of validation"
