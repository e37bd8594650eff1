"""The learning rate over a training in closed form, and the short loop that stands for it."""

from __future__ import annotations

import pytest

from metaft.training.schedule import paces, warmup_cosine


def test_warmup_and_cosine():
    factors = [warmup_cosine(t, 100, 0.1) for t in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert [warmup_cosine(t, 10, 0.0) for t in (0, 5)] == [1.0, pytest.approx(0.5)]


def test_a_short_loop_goes_as_far_as_the_fine_tune():
    whole = sum(warmup_cosine(t, 248, 0.1) for t in range(248))
    for schedule in ("constant", "cosine"):
        plain, raised = (paces(schedule, 20, 0.1, 248, stretch) for stretch in (1.0, 100.0))
        factor = (whole / sum(plain)) ** 0.5
        assert raised == pytest.approx([factor * p for p in plain])
        assert paces(schedule, 20, 0.1, 248, 2.0) == pytest.approx([2.0 * p for p in plain])
    assert paces("constant", 20, 0.1, 10, 4.0) == (1.0,) * 20, "a longer loop is not slowed down"
