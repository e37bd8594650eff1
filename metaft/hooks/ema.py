"""EMA: the model that is kept is an average over the way."""

from __future__ import annotations

import torch

from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.knobs import Knob
from metaft.objective.space import Float
from metaft.objective.vectors import Tensors

KNOBS = (Knob(Float("decay", 0.9, 0.9999), 0.99),)


class EMA(Hook):
    """Exponential moving average: e_t = decay e_{t-1} + (1 - decay) p_t from e_0 = theta_0; training does not see it.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 1992 (averaging); Tarvainen and Valpola, NeurIPS 2017 (EMA).
    """

    def initial(self, anchors: Tensors) -> State:
        """theta_0."""
        return tuple(anchors)

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The same values; the average moves on."""
        weight = 1 - knobs["decay"]
        return values, tuple(torch.lerp(e, p, weight) for e, p in zip(state, values, strict=True))

    def result(self, values: Tensors, state: State) -> Tensors:
        """The average."""
        return state
