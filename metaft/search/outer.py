"""Outer losses: what a search minimises on the OOD validation set, from logits [B, C] and labels [B]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class OuterLoss:
    """A registered outer loss."""

    description: str
    function: Callable[[Tensor, Tensor], Tensor]
    differentiable: bool = True


def best_log_temperature(logits: Tensor, labels: Tensor, steps: int = 30) -> Tensor:
    """The log temperature s that minimises CE(z / exp(s), y), within [-4, 4], by bisection on its derivative.

    In b = exp(-s) the loss is convex with derivative mean_i (E_p[z_i] - z_i[y_i]), p = softmax(b z), so its sign
    tells on which side the minimum lies.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2.
    """
    z = logits.detach().double()
    own = z.gather(1, labels[:, None])[:, 0]
    low, high = z.new_tensor(-4.0), z.new_tensor(4.0)
    for _ in range(steps):
        middle = (low + high) / 2
        p = F.softmax(z * (-middle).exp(), dim=1)
        too_sharp = ((p * z).sum(dim=1) - own).mean() > 0
        low, high = torch.where(too_sharp, middle, low), torch.where(too_sharp, high, middle)
    return ((low + high) / 2).to(logits.dtype)


def ce_calibrated(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy at the best temperature: min_s CE(z / exp(s), y), in nats.

    Its derivative is that of CE(z / exp(s*), y) with s* held fixed (envelope theorem), so mere under-confidence
    gains nothing.
    """
    return F.cross_entropy(logits * (-best_log_temperature(logits, labels)).exp(), labels)


def error(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of wrong predictions; piecewise constant, so for black-box solvers only."""
    return (logits.argmax(dim=1) != labels).to(logits.dtype).mean()


OUTER_LOSSES: dict[str, OuterLoss] = {
    "ce": OuterLoss("cross-entropy", F.cross_entropy),
    "ce_calibrated": OuterLoss("cross-entropy with its temperature fitted inside", ce_calibrated),
    "error": OuterLoss("error rate (tpe and random only)", error, differentiable=False),
}
