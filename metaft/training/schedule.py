"""The course of the learning rate over a training, as shares of its peak."""

from __future__ import annotations

import math
from collections.abc import Callable


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The share at a step: a line up over `warmup` of the steps, then a cosine down to 0."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))


def constant(step: int, steps: int, warmup: float) -> float:
    """The peak at every step."""
    return 1.0


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {"constant": constant, "cosine": warmup_cosine}


def paces(schedule: str, steps: int, warmup: float, horizon: int, stretch: float) -> tuple[float, ...]:
    """The factors of the learning rate in each of T = `steps` steps that stand for a fine-tune of H = `horizon`.

    They are raised so that the loop goes as far as the fine-tune with its warm-up and cosine:

        pace_t = share_t * min(stretch, max(1, sqrt(sum_{s < H} cosine_s / sum_{s < T} share_s)))

    AdamW's steps are about as long as the learning rate. If all steps went one way, the distance would be the sum of
    the learning rates; but batch gradients differ, and noise adds up as the square root.

    Args:
        schedule: a name of SCHEDULES.
        warmup: share of the steps over which `cosine` rises.
        stretch: the most by which they are raised, at least 1; long steps from moments of 0 destroy a model.
    """
    shares = [SCHEDULES[schedule](t, steps, warmup) for t in range(steps)]
    tuning = sum(warmup_cosine(t, horizon, warmup) for t in range(horizon))
    factor = min(stretch, max(1.0, math.sqrt(tuning / sum(shares))))
    return tuple(factor * share for share in shares)
