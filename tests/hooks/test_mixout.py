"""Mixout: AdamW on theta through the paper's mixture, beside the hook on the mixed weights."""

from __future__ import annotations

import pytest
import torch

from metaft.hooks.mixout import Mixout
from tests.hooks.rows import tensors

P = 0.6


def loss_of(values):
    """A loss whose gradient is another in every entry."""
    return sum(((v - t) ** 2 * (1 + t.abs())).sum() + v.sin().sum() for v, t in zip(values, tensors(5), strict=True))


def hooked(hook, knobs, anchors, steps):
    """Theta after steps of AdamW on the weights that the hook gives, and the weights of every step."""
    weights = [a.clone().requires_grad_() for a in anchors]
    optimizer, state, seen = torch.optim.AdamW(weights, lr=0.1, weight_decay=0), hook.initial(anchors), []
    for _ in range(steps):
        seen.append([w.detach().clone() for w in weights])
        grads = torch.autograd.grad(loss_of(weights), weights)
        with torch.no_grad():
            changed, state = hook.before(grads, weights, anchors, state, knobs)
            for w, g in zip(weights, changed, strict=True):
                w.grad = g
            optimizer.step()
            after, state = hook.after([w.detach().clone() for w in weights], anchors, state, knobs)
            for w, new in zip(weights, after, strict=True):
                w.copy_(new)
    return hook.result(weights, state), seen


def by_autograd(masks_of, anchors_of, start, steps):
    """Theta after steps of AdamW on it, through ((1 - m) a + m theta - p a) / (1 - p)."""
    theta = [a.clone().requires_grad_() for a in start]
    optimizer, seen = torch.optim.AdamW(theta, lr=0.1, weight_decay=0), []
    for step in range(steps):
        parts = zip(masks_of(step), anchors_of(step, [t.detach().clone() for t in theta]), theta, strict=True)
        mixed = [((1 - m) * a + m * t - P * a) / (1 - P) for m, a, t in parts]
        seen.append([w.detach() for w in mixed])
        optimizer.zero_grad()
        loss_of(mixed).backward()
        optimizer.step()
    return [t.detach() for t in theta], seen


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def masks(hook, step, like):
    """The masks of a step, 0 or 1."""
    found = [(f * (1 - P)).round() for f in hook.factors(torch.tensor(float(step)), like, P)]
    assert {float(x) for m in found for x in m.flatten()} == {0.0, 1.0}
    return found


def test_it_is_adamw_through_the_papers_mixture():
    hook, anchors = Mixout(), tensors(0)
    theirs, their_weights = by_autograd(lambda n: masks(hook, n, anchors), lambda n, theta: anchors, anchors, 5)
    ours, our_weights = hooked(hook, {"probability": P}, anchors, 5)
    close(ours, theirs)
    for mine, other in zip(our_weights, their_weights, strict=True):
        close(mine, other)


def test_without_probability_it_changes_nothing():
    anchors = tensors(0)
    ours, _ = hooked(Mixout(), {"probability": 0.0}, anchors, 4)
    plain = [a.clone().requires_grad_() for a in anchors]
    optimizer = torch.optim.AdamW(plain, lr=0.1, weight_decay=0)
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(plain).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def test_the_mean_over_masks_is_theta():
    hook, anchors, theta = Mixout(), [torch.zeros(100)], [torch.linspace(-1, 1, 100)]
    drawn = [hook.mixed(theta, anchors, torch.tensor(float(n)), {"probability": P})[0] for n in range(2000)]
    assert float((torch.stack(drawn) == 0).float().mean()) == pytest.approx(P, abs=0.01)
    torch.testing.assert_close(torch.stack(drawn).mean(dim=0), theta[0], rtol=0, atol=0.12)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[3], hook.mixed(theta, anchors, torch.tensor(3.0), {"probability": P})[0])
