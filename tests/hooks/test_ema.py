"""The exponential average beside training."""

from __future__ import annotations

import torch

from metaft.hooks.ema import EMA
from tests.hooks.rows import tensors


def test_ema_is_the_average_and_does_not_touch_training():
    anchors, hook = tensors(0), EMA()
    state, expected = hook.initial(anchors), anchors
    for seed in range(1, 4):
        values = tensors(seed)
        after, state = hook.after(values, anchors, state, {"decay": 0.8})
        assert after is values
        expected = [0.8 * e + 0.2 * v for e, v in zip(expected, values, strict=True)]
    for ours, theirs in zip(hook.result(values, state), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
