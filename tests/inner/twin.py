"""The hypergradient once more, by torch.func alone: no higher, no step of ours, AdamW in elementary operations."""

from __future__ import annotations

import math

import torch
from torch.func import functional_call, grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaft.inner.adamw import FLOOR


def twin_hypergradient(classifier, loss_of, batches, last, h, outer_loss, betas, eps, start=None):
    """d outer_loss(logits of `last`, labels) / dh after one AdamW step a batch; `start` is (m, v, steps taken)."""
    theta_0 = {name: p.detach() for name, p in classifier.trained().items()}
    group_of = {name: group for group, names in classifier.groups().items() for name in names}
    b1, b2 = betas

    def inner_loss(theta, batch, h):
        out = functional_call(classifier, theta, (batch.images, batch.tokens))
        return loss_of(batch.observe(out, theta, theta_0), h)

    def update(p, g, m, v, lr, wd, t):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        ratio = (m / (1 - b1**t)) / ((v + FLOOR).sqrt() / math.sqrt(1 - b2**t) + eps)
        return p - lr * wd * p - lr * ratio, m, v

    def whole(h):
        zeros = {k: torch.zeros_like(p) for k, p in theta_0.items()}
        theta, (m, v, taken) = dict(theta_0), start or (dict(zeros), dict(zeros), 0)
        m, v = dict(m), dict(v)
        for t, batch in enumerate(batches, taken + 1):
            g = grad(inner_loss)(theta, batch, h)
            for k, p in theta.items():
                lr, wd = (h.get(f"{name}@{group_of[k]}", h.get(name)) for name in ("lr", "wd"))
                theta[k], m[k], v[k] = update(p, g[k], m[k], v[k], lr, wd, t)
        return outer_loss(functional_call(classifier, theta, (last.images,)).logits, last.labels)

    with sdpa_kernel(SDPBackend.MATH):
        return grad(whole)(h), whole(h)
