"""Schedules of the learning rate: peaks, ends, and every pace of a short loop."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from metaft.config.schema import InnerConfig
from metaft.training.schedule import SCHEDULES, paces, warmup_cosine


def test_settings_know_every_schedule():
    assert set(SCHEDULES) == set(get_args(InnerConfig.model_fields["schedule"].annotation))


def test_a_line_up_and_a_cosine_down():
    shares = [warmup_cosine(t, 200, 0.1) for t in range(201)]
    assert shares[:20] == pytest.approx([(t + 1) / 21 for t in range(20)])
    assert shares[20:] == pytest.approx([(1 + math.cos(math.pi * t / 180)) / 2 for t in range(181)])
    assert max(shares) == 1.0
    assert shares[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_paces_are_shares_times_one_factor(schedule):
    shares = [SCHEDULES[schedule](t, 10, 0.1) for t in range(10)]
    horizon = sum(warmup_cosine(t, 100, 0.1) for t in range(100))
    factor = math.sqrt(horizon / sum(shares))
    assert 1 < factor < 4
    assert paces(schedule, 10, 0.1, 100, 4.0) == pytest.approx([factor * share for share in shares])
    assert paces(schedule, 10, 0.1, 100, 1.5) == pytest.approx([1.5 * share for share in shares])


def test_warmup_and_cosine():
    factors = [warmup_cosine(t, 100, 0.1) for t in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert [warmup_cosine(t, 10, 0.0) for t in (0, 5)] == [1.0, pytest.approx(0.5)]


def test_a_short_loop_goes_as_far_as_the_fine_tune():
    tuning = sum(warmup_cosine(t, 248, 0.1) for t in range(248))
    for schedule in ("constant", "cosine"):
        plain, raised = (paces(schedule, 20, 0.1, 248, stretch) for stretch in (1.0, 100.0))
        factor = (tuning / sum(plain)) ** 0.5
        assert raised == pytest.approx([factor * p for p in plain])
        assert paces(schedule, 20, 0.1, 248, 2.0) == pytest.approx([2.0 * p for p in plain])
    assert paces("constant", 20, 0.1, 10, 4.0) == (1.0,) * 20, "a longer loop is not slowed down"
