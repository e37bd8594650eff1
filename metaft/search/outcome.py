"""The outcome of one inner run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "diverged", "oom", "stopped", "failed", "lost"]

MIXES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # shares of the way from where a fine-tune begins to where it ends


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one inner run: outer loss, accuracy on the outer set, the value that solvers minimise, and cost.

    `value` is infinite for a run that diverged, ran out of memory, failed with an error or was lost with its worker.
    `reason` says why, or what made a derivative explode. `mixes` are the values at each of `MIXES` shares of the way,
    where a fine-tune was judged at all of them.
    """

    loss: float
    metric: float
    value: float
    steps: int
    step_equivalents: float
    seconds: float
    status: Status = "ok"
    reason: str = ""
    mixes: tuple[float, ...] = ()
