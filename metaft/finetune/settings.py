"""What every fine-tuning method is given beside the classifier and the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.objective import Objective


def _ignore(event: dict[str, Any]) -> None:
    """Keep no log."""


def _nothing_fitted(name: str) -> Classifier:
    raise KeyError(f"no method {name!r} has been fitted")


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit.

    Args:
        plain: plain fine-tuning's objective (cross-entropy alone).
        learned: the objective a search found, where there is one.
        steps: optimizer steps, the same for every method whatever the number of its images.
        checks: how often on the way ID validation is looked at.
        warmup: share of the steps over which the learning rate rises to its peak; then it falls as a cosine to 0.
        freeze: patterns of parameter names that stay at their pretrained values.
        tokens: caption tokens [C, M, L].
        fitted: another method's classifier by name, trained once and shared.
        log: takes one event a call, as plain values.
    """

    plain: Objective
    learned: Objective | None = None
    steps: int = 248
    checks: int = 8
    batch_size: int = 64
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    penalty_scale: str = "standard"
    freeze: tuple[str, ...] = ()
    tokens: Tensor | None = None
    eval_batch_size: int = 512
    seed: int = 0
    device: torch.device | str = "cpu"
    fitted: Callable[[str], Classifier] = _nothing_fitted
    log: Callable[[dict[str, Any]], None] = field(default=_ignore)
