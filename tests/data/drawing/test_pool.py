"""The pictures of pretraining: each can be drawn alone, and the toy CLIP knows them."""

from __future__ import annotations

import torch

from metaft.data.drawing.pool import COUNT, KEPT, SEED, pool
from tests.data.suites import load


def test_each_can_be_drawn_alone():
    few = pool(SEED, 50)
    every = few.pixels(range(50), 32)
    assert torch.equal(few.pixels([3, 29, 30, 49], 32), every[[3, 29, 30, 49]])
    assert torch.equal(few.pixels([4], 32), every[[4]])
    assert torch.equal(few.pixels([31], 32), every[[31]])


def test_suites_have_some_of_all_styles_and_no_search_sees_them():
    for name in ("digits", "shapes"):
        splits = load(name)
        assert len(splits.pretraining) == KEPT
        assert splits.search_data.more == {}
        assert set(splits.rehearsal_data.more) == {"pretraining"}
        assert "pretraining" not in splits.parts
    assert len(set(pool(SEED).styles[:: COUNT // KEPT])) == len(set(pool(SEED).styles))
