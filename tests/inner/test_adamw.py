"""AdamW's update by hand: its value and derivatives, beside those of elementary operations."""

from __future__ import annotations

import pytest
import torch

from metaft.inner.adamw import FLOOR, Constants, adamw


def _elementary(p, g, m, v, lr, wd, b1, b2, eps, t):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    denominator = (v + FLOOR).sqrt() / (1 - b2**t) ** 0.5 + eps
    return p * (1 - lr * wd) - lr / (1 - b1**t) * m / denominator, m, v


def _inputs(n: int = 3):
    g = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, 2, generator=g, dtype=torch.float64) for _ in range(3)]
    second = torch.rand(n, 2, generator=g, dtype=torch.float64)
    lr, wd = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    return [x.requires_grad_() for x in (lr, wd, *rows, second)]


def _update(lr, wd, p, g, m, v):
    return tuple(out[0] for out in adamw([p], [g], [m], [v], lr, wd, Constants(0.8, 0.95, 1e-3, 4)))


def test_derivatives_by_hand_are_those_of_elementary_operations():
    inputs = _inputs()
    lr, wd, *rest = inputs
    expected = _elementary(*rest, lr, wd, 0.8, 0.95, 1e-3, 4)
    by_hand = _update(*inputs)
    weights = [torch.full_like(x, 0.5).cumsum(0) for x in by_hand]
    for ours, theirs in zip(by_hand, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)
    pairs = (torch.autograd.grad(out, inputs, weights) for out in (by_hand, expected))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_forward_and_reverse_mode_agree_with_finite_differences():
    assert torch.autograd.gradcheck(_update, _inputs(), check_forward_ad=True, eps=1e-7, atol=1e-6)


def test_an_unused_output_costs_nothing_and_changes_nothing():
    inputs = _inputs()
    new, _, _ = _update(*inputs)
    alone = torch.autograd.grad(new.sum(), inputs, allow_unused=True)
    lr, wd, *rest = inputs
    every = torch.autograd.grad(_elementary(*rest, lr, wd, 0.8, 0.95, 1e-3, 4)[0].sum(), inputs)
    for ours, theirs in zip(alone, every, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
