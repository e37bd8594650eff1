"""How the learning rate runs over a training, as shares of its peak."""

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


def paces(schedule: str, steps: int, warmup: float) -> tuple[float, ...]:
    """The factors of the learning rate in each of `steps` steps.

    Args:
        schedule: a name of SCHEDULES.
        warmup: share of the steps over which `cosine` rises.
    """
    return tuple(SCHEDULES[schedule](t, steps, warmup) for t in range(steps))
