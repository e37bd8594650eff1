"""Descents: sure gradients make Adam's steps, noise makes none, explosions shrink the trust region."""

from __future__ import annotations

import math

import pytest
import torch

from metaft.config.schema import DescentConfig
from metaft.search.solvers.descent import PILOT, WINDOW, Descent


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def half(k: int) -> torch.Tensor:
    return torch.full((k,), 0.5, dtype=torch.float64)


def noisy(seed: int, mean: torch.Tensor, deviation: float):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield mean + deviation * torch.randn(len(mean), generator=generator, dtype=torch.float64)


def test_a_sure_gradient_moves_by_the_whole_step():
    descent = Descent(half(3), DescentConfig(lr=0.1, decay=4.0))
    for _ in range(PILOT - 1):
        descent.take(vector(0.3, -0.02, 0.0), 1.0)
        assert descent.u.tolist() == [0.5, 0.5, 0.5], "one gradient does not show its noise"
    descent.take(vector(0.3, -0.02, 0.0), 1.0)
    assert descent.u.tolist() == pytest.approx([0.4, 0.6, 0.5])
    descent.take(vector(0.3, -0.02, 0.0), 1.0)
    assert descent.u.tolist() == pytest.approx([0.4 - 0.1 / math.sqrt(1.25), 0.6 + 0.1 / math.sqrt(1.25), 0.5])


def test_torch_adam_takes_the_same_steps_where_nothing_is_shrunk():
    """With gradients that hardly change, every mean is sure, and the step is that of Adam with equal betas."""
    descent = Descent(half(2), DescentConfig(lr=0.01, decay=1e12, momentum=0.8))
    theirs = half(2).requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.8, 0.8), eps=0.0)
    generator = torch.Generator().manual_seed(0)
    gradients = [vector(0.4, -0.1) * (1 + 1e-3 * torch.randn(1, generator=generator)) for _ in range(12)]
    for number, g in enumerate(gradients):
        descent.take(g, 1.0)
        theirs.grad = g.clone()
        before = theirs.detach().clone()
        adam.step()
        if number == 0:
            theirs.data.copy_(before)  # the pilot's first gradient moves nothing here
    assert descent.u.tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_noise_is_not_turned_into_steps():
    """A random walk of Adam's, and what is left of it; the coordinate with a slope goes its way."""
    moved, walked = [], []
    for seed in range(20):
        descent = Descent(half(2), DescentConfig(lr=0.01, decay=1e12, clip=1e12))
        plain = vector(0.5, 0.5).requires_grad_()
        adam = torch.optim.Adam([plain], lr=0.01, betas=(0.8, 0.8))
        for _, g in zip(range(30), noisy(seed, vector(0.0, 2.0), 1.0), strict=False):
            descent.take(g, 1.0)
            plain.grad = g
            adam.step()
        moved.append(abs(float(descent.u[0]) - 0.5))
        walked.append(abs(float(plain.detach()[0]) - 0.5))
        assert descent.u[1] < 0.4
    assert sum(moved) < 0.6 * sum(walked)


def test_it_settles_at_the_bottom_and_not_on_a_slope():
    for slope in (0.0, 1.0):
        values = noisy(1, vector(0.0), 0.05)
        descent = Descent(half(1), DescentConfig(lr=0.015))
        for step, g in zip(range(3 * WINDOW), noisy(2, vector(slope), 0.3), strict=False):
            descent.take(g, 1.0 - 0.015 * slope * step + float(next(values)))
        assert descent.settled == (slope == 0.0)


def test_an_explosion_goes_back_and_shrinks_the_trust_region():
    descent = Descent(half(1), DescentConfig(lr=0.1, decay=1e12))
    for _ in range(3):
        descent.take(vector(1.0), 1.0)
    assert descent.u.item() == pytest.approx(0.3)
    descent.take(vector(1e6), 1.0)
    assert (descent.u.item(), descent.explosions) == (pytest.approx(0.4), 1)
    descent.take(vector(1.0), 1.0)
    assert descent.u.item() == pytest.approx(0.35), "half the step"
    descent.take(vector(1.0), 1.0)
    assert descent.u.item() == pytest.approx(0.275), "which grows again"
    descent.take(vector(1.0), math.inf)
    assert descent.explosions == 2


def test_averaging_waits_for_all_its_gradients():
    descent = Descent(half(1), DescentConfig(lr=0.1, average=3))
    for number in range(6):
        assert len(descent.points) == number // 3
        descent.take(vector(1.0), 1.0)


def test_the_mean_is_over_the_second_half():
    descent = Descent(half(1), DescentConfig(lr=0.1, decay=1e12))
    for _ in range(4):
        descent.take(vector(1.0), 1.0)
    assert [p.item() for p in descent.points] == pytest.approx([0.5, 0.4, 0.3])
    assert descent.mean.item() == pytest.approx((0.4 + 0.3 + 0.2) / 3)
