"""Parameters that depend on noise, new at every step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metaft.hooks.hook import Hook, Knobs, State
from metaft.tensors import Tensors

COUNT = "draws"  # the last of the variables
UNIT = 2.0**-20  # of the count, which is to be no longer than other variables
NONE = -1.0  # the count at which nothing is drawn


class Drawn(Hook):
    """A hook whose parameters are a pure function of its variables, of which the last counts the draws.

    No gradient reaches the count. It begins where the seed says and goes up by a unit with every step, so that noise
    is the same for every part of a batch, in a repeated step and in a resumed training. That of a result is `NONE`.
    """

    def count(self, generator: torch.Generator, like: Tensor) -> Tensor:
        """The count before the first step, []; with up to 2^23 steps it is exact in float32."""
        return torch.randint(2**20, (), generator=generator).to(like) * UNIT

    def source(self, variables: Mapping[str, Tensor]) -> torch.Generator | None:
        """What a step's noise is drawn from, on the device of the variables; None: nothing is drawn."""
        count = variables[COUNT].detach()
        return None if count < 0 else torch.Generator(count.device).manual_seed(round(count.item() / UNIT))

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The proposed values; one more draw."""
        *proposed, count = values
        return [*proposed, count + UNIT], state

    def result(self, values: Tensors, state: State) -> Tensors:
        """The values without noise."""
        *kept, count = values
        return [*kept, torch.full_like(count, NONE)]
