"""EMA: the resulting model is a moving average over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaft.config.schema import HookConfig
from metaft.hooks.hook import Hook, Knobs, State
from metaft.tensors import Tensors


class EMA(Hook):
    """Exponential moving average: e_t = decay e_{t-1} + (1 - decay) p_t from e_0 = theta_0; training does not see it.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 1992 (averaging); Tarvainen and Valpola, NeurIPS 2017 (EMA).
    """

    entrywise = True

    def initial(self, anchors: Tensors) -> State:
        """The average before the first step: theta_0."""
        return tuple(anchors)

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The values unchanged; the average moves towards them."""
        weight = 1 - knobs["decay"]  # a tensor of any precision where it is searched
        pairs = zip(state, values, strict=True)
        return values, tuple(torch.lerp(e, p, torch.as_tensor(weight).to(e)) for e, p in pairs)

    def result(self, values: Tensors, state: State) -> Tensors:
        """The average, in place of the values."""
        return state


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """EMA of all parameters."""
    return EMA()
