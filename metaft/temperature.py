"""The temperature of logits, fitted to labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def best_log_temperature(logits: Tensor, labels: Tensor, weights: Tensor | None = None, steps: int = 30) -> Tensor:
    """The log temperature s that minimises CE(z / exp(s), y), within [-4, 4], by bisection on its derivative.

    In b = exp(-s) the loss is convex with derivative sum_i w_i (E_p[z_i] - z_i[y_i]), p = softmax(b z), so its sign
    tells on which side the minimum lies.

    Args:
        weights: w, how much each image counts, [N]; None: all alike.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2.
    """
    z = logits.detach().double()
    of_label = z.gather(1, labels[:, None])[:, 0]
    low, high = z.new_tensor(-4.0), z.new_tensor(4.0)
    for _ in range(steps):
        middle = (low + high) / 2
        p = F.softmax(z * (-middle).exp(), dim=1)
        excess = (p * z).sum(dim=1) - of_label
        too_sharp = (excess if weights is None else weights * excess).mean() > 0
        low, high = torch.where(too_sharp, middle, low), torch.where(too_sharp, high, middle)
    return ((low + high) / 2).to(logits.dtype)


def ce_calibrated(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy at the best temperature: min_s CE(z / exp(s), y), in nats.

    Its derivative is that of CE(z / exp(s*), y) with s* held fixed (envelope theorem), so mere under-confidence
    gains nothing.
    """
    return F.cross_entropy(logits * (-best_log_temperature(logits, labels)).exp(), labels)


def ce_by_class(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over classes of the mean cross-entropy of their images, at the temperature that is best for it, in nats.

    Only classes that have an image count. As for `ce_calibrated`, the temperature is held fixed in the derivative.
    """
    each = labels.bincount(minlength=logits.shape[1])[labels].to(logits.dtype).reciprocal()
    cooled = logits * (-best_log_temperature(logits, labels, each)).exp()
    return (each * F.cross_entropy(cooled, labels, reduction="none")).sum() / each.sum()
