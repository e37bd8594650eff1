"""lwf_features: its term by hand."""

from __future__ import annotations

import pytest
import torch

from metaft.finetune.methods.lwf_features import moved
from tests.finetune.own import agree


@pytest.mark.parametrize("accumulate", [1, 2])
def test_its_steps_are_those_of_torch(work, context, accumulate):
    def by_hand(out, first, batch, model, step):
        apart = out.image_features - first.image_features
        return torch.stack([f @ f for f in apart]).mean()

    agree(work, context, moved, by_hand, accumulate=accumulate)
