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
