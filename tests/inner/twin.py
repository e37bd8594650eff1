"""The hypergradient once more, by torch.func alone: no higher, no step of ours, AdamW in elementary operations."""

from __future__ import annotations

import math

import torch
from torch.func import functional_call, grad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaft.clip.classifier import grouped
from metaft.inner.adamw import FLOOR
from tests.inner.problems import BETAS, EPS, loss_of, parameters_of


def twin_hypergradient(classifier, batches, last, h):
    """d cross-entropy(logits of `last`, labels) / dh after one AdamW step a batch, and the cross-entropy."""
    theta_0 = {name: p.detach() for name, p in parameters_of(classifier).items()}
    group_of = {name: group for group, names in grouped(theta_0).items() for name in names}
    weighted = loss_of(classifier)
    b1, b2 = BETAS

    def inner_loss(theta, batch, h):
        out = functional_call(classifier, theta, (batch.images, batch.tokens))
        return weighted(batch.observe(out, theta, theta_0), h)

    def update(p, g, m, v, lr, wd, t):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        ratio = (m / (1 - b1**t)) / ((v + FLOOR).sqrt() / math.sqrt(1 - b2**t) + EPS)
        return p - lr * wd * p - lr * ratio, m, v

    def outer(h):
        theta = dict(theta_0)
        m, v = ({k: torch.zeros_like(p) for k, p in theta_0.items()} for _ in range(2))
        for t, batch in enumerate(batches, 1):
            g = grad(inner_loss)(theta, batch, h)
            for k, p in theta.items():
                lr, wd = (h.get(f"{name}@{group_of[k]}", h.get(name)) for name in ("lr", "wd"))
                theta[k], m[k], v[k] = update(p, g[k], m[k], v[k], lr, wd, t)
        return F.cross_entropy(functional_call(classifier, theta, (last.images,)).logits, last.labels)

    with sdpa_kernel(SDPBackend.MATH):
        return grad(outer)(h), outer(h)
