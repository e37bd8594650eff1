"""What a term sees: shapes are checked when it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.objective.states import B, C, D, state


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"logits": torch.zeros(B)}, "logits"),
        ({"logits": torch.zeros(0, C)}, "logits"),
        ({"labels": torch.zeros(B + 1, dtype=torch.int64)}, "labels"),
        ({"labels": torch.zeros(B)}, "labels"),
        ({"image_features": torch.zeros(B - 1, D)}, "image_features"),
        ({"text_features": torch.zeros(B, D + 1)}, "text_features"),
        ({"pretrained": {"a.weight": torch.zeros(1)}}, "pretrained"),
    ],
)
def test_wrong_shapes_are_named(change, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        replace(state(), **change)
