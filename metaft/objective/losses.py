"""Losses on a batch. z are logits [B, C], y labels [B], p = softmax(z); every loss is a mean over the batch.

The first five are AutoFT's (Choi et al., arXiv 2401.10220), as its released code computes them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.objective.state import StepState


def _entropies(logits: Tensor) -> Tensor:
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def ce(s: StepState) -> Tensor:
    """Cross-entropy: mean_i -log p_i[y_i], in nats.

    Source: AutoFT, released code, learnedloss.py.
    """
    return F.cross_entropy(s.logits, s.labels)


def dcm(s: StepState) -> Tensor:
    """Entropy of misclassified samples: (1/B) sum_i [argmax z_i != y_i] H(p_i), in nats.

    The indicator carries no gradient, and the sum is divided by the batch, not by the number of errors. Minimising
    it *lowers* the entropy of errors, as AutoFT's code does; data-driven confidence minimisation (Chen et al., 2023),
    whose name it bears, raises it.

    Source: AutoFT, released code, learnedloss.py.
    """
    wrong = (s.logits.argmax(dim=1) != s.labels).to(s.logits.dtype)
    return (wrong * _entropies(s.logits)).mean()


def entropy(s: StepState) -> Tensor:
    """Prediction entropy: mean_i H(p_i) = mean_i -sum_c p_ic log p_ic, in nats.

    Source: AutoFT, released code, learnedloss.py.
    """
    return _entropies(s.logits).mean()


def hinge(s: StepState) -> Tensor:
    """Weston-Watkins hinge: mean_i sum_{c != y_i} max(0, z_ic - z_iy + 1). A sum over classes, margin 1.

    Source: Weston and Watkins, ESANN 1999; AutoFT, released code, learnedloss.py.
    """
    of_label = s.logits.gather(1, s.labels[:, None])
    margins = F.relu(s.logits - of_label + 1)
    return margins.sum(dim=1).mean() - 1  # the margin of the label itself is max(0, 1)


def flyp(s: StepState) -> Tensor:
    """CLIP's symmetric InfoNCE: (CE(t I T', 1..B) + CE(t T I', 1..B)) / 2, in nats.

    I and T are unit features of the images and of one caption each [B, D], t the logit scale. Captions of the same
    class in one batch count as negatives of each other.

    Raises:
        ValueError: there are no text features.

    Source: Goyal et al., FLYP, CVPR 2023; AutoFT, released code, clip/loss.py.
    """
    if s.text_features is None:
        raise ValueError("flyp: text_features are missing; allowed: [B, D] from the text tower")
    similarity = s.logit_scale * s.image_features @ s.text_features.T
    partner = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, partner) + F.cross_entropy(similarity.T, partner)) / 2


def kd(s: StepState) -> Tensor:
    """Distillation: mean_i KL(p0_i || p_i) at temperature 1, in nats; p0 are theta_0's predictions.

    Source: Hinton et al., 2015, eq. 1, as a divergence, so that theta_0 scores 0.
    """
    log_p = F.log_softmax(s.logits, dim=1)
    log_p0 = F.log_softmax(s.reference_logits, dim=1)
    return F.kl_div(log_p, log_p0, reduction="batchmean", log_target=True)
