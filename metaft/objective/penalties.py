"""Penalties on the parameters: theta trained, theta_0 pretrained, N trained scalars in all.

Each function is the plain sum. Its registered scale makes a weight mean the same for models of any size:

* l1: 1 / sqrt(N). The gradient of sum |theta| is a vector of N signs, of length sqrt(N); scaled, of length 1.
* l2: 1. The gradient of sum (theta - theta_0)^2 has length 2 |theta - theta_0|, about 1 after a fine-tune; this is
  L2-SP's own convention.

A classification loss has gradients of length about 0.1 to 10, so weights in [1e-4, 10] go from negligible to
dominant. AutoFT's released code divides all four by N instead (`objective.penalty_scale: released`), which leaves
gradients of length 1 / sqrt(N) or less and hence weights that do nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metaft.objective.registry import term
from metaft.objective.state import StepState


def _inverse_sqrt(n: int) -> float:
    return 1 / math.sqrt(n)


def _total(parts: list[Tensor]) -> Tensor:
    if not parts:
        raise ValueError("params: empty; allowed: at least one parameter")
    return torch.stack(parts).sum()


@term("l1zero", "L1 norm of the parameters", penalty=True, scale=_inverse_sqrt)
def l1zero(s: StepState) -> Tensor:
    """L1 norm: sum |theta|. Source: AutoFT, released code, learnedloss.py (there divided by N)."""
    return _total([p.abs().sum() for p in s.params.values()])


@term("l2zero", "squared L2 norm of the parameters", penalty=True)
def l2zero(s: StepState) -> Tensor:
    """Squared L2 norm: sum theta^2, without a factor 1/2. Source: AutoFT, released code (there divided by N)."""
    return _total([p.square().sum() for p in s.params.values()])


@term("l1init", "L1 distance to the pretrained parameters", penalty=True, scale=_inverse_sqrt)
def l1init(s: StepState) -> Tensor:
    """L1 distance: sum |theta - theta_0|; its gradient at theta_0 is 0. Source: AutoFT (there divided by N)."""
    return _total([(p - s.pretrained[k]).abs().sum() for k, p in s.params.items()])


@term("l2init", "squared L2 distance to the pretrained parameters (L2-SP)", penalty=True)
def l2init(s: StepState) -> Tensor:
    """Squared L2 distance: sum (theta - theta_0)^2, without a factor 1/2.

    Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018, eq. 3 (L2-SP); AutoFT (over N).
    """
    return _total([(p - s.pretrained[k]).square().sum() for k, p in s.params.items()])
