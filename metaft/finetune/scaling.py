"""Loss scaling: what keeps gradients within the range of float16."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LARGEST = 2.0**16  # at first, as torch.amp.GradScaler
LEAST = 1.0  # below it float16 has no range left to give to small gradients, and a training is given up
PATIENCE = 2000  # steps in a row with finite gradients, after which the factor is doubled


@dataclass
class Scale:
    """The factor of a loss as it is differentiated; it is halved by a step whose gradients are not finite.

    Args:
        factor: 1.0 for good where gradients need none.
        good: steps since it last changed.

    Source: Micikevicius et al., Mixed precision training, ICLR 2018, section 3.2, with torch.amp.GradScaler's numbers.
    """

    factor: float = 1.0
    good: int = 0
    moves: bool = False

    @classmethod
    def of(cls, precision: str) -> Scale:
        """The scale that a precision begins with."""
        return cls(LARGEST, moves=True) if precision == "float16" else cls()

    def sound(self, grads: Iterable[Tensor | None], everywhere: Callable[[bool], bool] = bool) -> bool:
        """Take the factor out of gradients in place; whether they are finite, so that a step may be taken.

        Args:
            everywhere: whether what holds for these gradients holds for those of all ranks.
        """
        if not self.moves:
            return True
        found = [g for g in grads if g is not None]
        torch._foreach_div_(found, self.factor)
        sound = everywhere(bool(torch.stack([g.isfinite().all() for g in found]).all()))
        self.good = self.good + 1 if sound else 0
        if not sound:
            self.factor /= 2
        elif self.good == PATIENCE:
            self.factor, self.good = 2 * self.factor, 0
        return sound

    def state_dict(self) -> dict[str, Any]:
        """What a training goes on with."""
        return {"factor": self.factor, "good": self.good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` returned."""
        self.factor, self.good = state["factor"], state["good"]
