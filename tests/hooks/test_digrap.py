"""DiGraP: which part is left out, and how its share is learned, by hand and beside differences."""

from __future__ import annotations

import pytest
import torch

from metaft.hooks.digrap import DiGraP
from tests.hooks.rows import added, tensors


def scaled(ts, factor):
    return [factor * t for t in ts]


def state_of(omega: float, last):
    zeros = torch.zeros(3, dtype=torch.float64)
    return (zeros, zeros + omega, zeros, zeros, *last)


def test_a_conflict_is_projected_out_and_agreement_is_left_alone():
    """At omega 1 the gradient is orthogonal to the drift; nothing is learned from r_0 = 0."""
    anchors, drift, hook = tensors(0), tensors(1), DiGraP()
    values, noise = added(anchors, drift), tensors(2, 0.1)
    for sign in (-1.0, 1.0):
        grads = added(scaled(drift, sign), noise)
        state = state_of(1.0, [torch.zeros_like(a) for a in anchors])
        changed, _ = hook.before(grads, values, anchors, state, {"speed": 0.1})
        for g, new, c in zip(grads, changed, drift, strict=True):
            if sign > 0:
                assert torch.equal(new, g)
            else:
                assert float((new * c).sum()) == pytest.approx(0, abs=1e-9)
                torch.testing.assert_close(new, g - (g * c).sum() / (c * c).sum() * c)


def test_a_share_of_a_conflict():
    anchors, drift, hook = tensors(0), tensors(1), DiGraP()
    grads = scaled(drift, -2.0)
    state = state_of(0.3, [torch.zeros_like(a) for a in anchors])
    changed, _ = hook.before(grads, added(anchors, drift), anchors, state, {"speed": 0.1})
    for g, new in zip(grads, changed, strict=True):
        torch.testing.assert_close(new, 0.7 * g)


def test_the_first_step_is_plain():
    anchors, grads, hook = tensors(0), tensors(1), DiGraP()
    changed, state = hook.before(grads, anchors, anchors, hook.initial(anchors), {"speed": 1.0})
    assert all(torch.equal(a, b) for a, b in zip(changed, grads, strict=True))
    assert not any(t.any() for t in state)


def test_speed_0_is_plain_fine_tuning():
    anchors, hook = tensors(0), DiGraP()
    state = hook.initial(anchors)
    for seed in range(1, 5):
        grads = tensors(seed)
        changed, state = hook.before(grads, added(anchors, tensors(seed, -0.1)), anchors, state, {"speed": 0.0})
        assert all(torch.equal(a, b) for a, b in zip(changed, grads, strict=True))


@pytest.mark.parametrize(("sign", "omega"), [(-1.0, 0.6), (1.0, 0.4)])
def test_the_share_is_learned_by_adams_first_move(sign, omega):
    """h < 0, where more of the share would have helped, raises it by `speed`; h > 0 lowers it."""
    anchors, last, hook = tensors(0), tensors(1), DiGraP()
    _, state = hook.before(scaled(last, sign), anchors, anchors, state_of(0.5, last), {"speed": 0.1})
    torch.testing.assert_close(state[1], torch.full((3,), omega, dtype=torch.float64))
    torch.testing.assert_close(state[2], torch.full((3,), 0.1 * sign, dtype=torch.float64))  # (1 - beta_1) cos


def test_what_is_learned_from_has_the_sign_of_the_slope():
    """d L(p_{t-1}) / d omega, with p_{t-1} = p_{t-2} - lr (g - omega r), on a quadratic, by central differences."""
    anchors, goal, hook = tensors(0), tensors(3), DiGraP()
    values, lr = added(anchors, tensors(1)), 0.1

    def gradient(ps):
        return [p - t for p, t in zip(ps, goal, strict=True)]

    grads = gradient(values)
    _, state = hook.before(grads, values, anchors, hook.initial(anchors), {"speed": 0.0})
    parts = state[4:]

    def after(omega):
        return [p - lr * (g - omega * r) for p, g, r in zip(values, grads, parts, strict=True)]

    def losses(omega):
        return torch.stack([(p - t).square().sum() / 2 for p, t in zip(after(omega), goal, strict=True)])

    slopes = (losses(0.5 + 1e-4) - losses(0.5 - 1e-4)) / 2e-4
    new = gradient(after(0.5))
    _, learned = hook.before(new, after(0.5), anchors, state, {"speed": 0.0})
    lengths = torch.stack([lr * g.norm() * r.norm() for g, r in zip(new, parts, strict=True)])
    torch.testing.assert_close(10 * learned[2], slopes / lengths, rtol=1e-6, atol=0)


def test_the_share_stays_within_0_and_1():
    anchors, last, hook = tensors(0), tensors(1), DiGraP()
    for sign, omega in ((-1.0, 1.0), (1.0, 0.0)):
        _, state = hook.before(scaled(last, sign), anchors, anchors, state_of(0.5, last), {"speed": 5.0})
        assert (state[1] == omega).all()
