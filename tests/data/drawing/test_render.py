"""Randomness by counter."""

from __future__ import annotations

import numpy as np
import pytest

from metaft.data.drawing.render import uniforms


def test_uniforms_are_uniform():
    u = uniforms(1, np.arange(20_000), 3)
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean(0) == pytest.approx([0.5] * 3, abs=0.01)
    assert u.var(0) == pytest.approx([1 / 12] * 3, abs=0.002)
    assert abs(np.corrcoef(u.T.numpy()) - np.eye(3)).max() < 0.03
