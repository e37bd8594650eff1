"""Steps at a learning rate of each tensor's own."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from metaft.hooks.hook import Hook, Knobs, State
from metaft.tensors import Tensors


class Scaled(Hook):
    """p_t = p_{t-1} + s (p~_t - p_{t-1}), with p~_t what the optimizer proposes and a share s for each tensor.

    A proposal of AdamW is linear in its learning rate, weight decay included, so that this is AdamW at s times the
    learning rate; a share of 1 gives exactly the proposal, and 0 nothing. It has no state beyond a step.
    """

    @abstractmethod
    def shares(self, grads: Tensors, values: Tensors, knobs: Knobs) -> list[Tensor]:
        """The share of each tensor's step, [] each, from the gradients at these values."""

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients unchanged; the values, which the optimizer may overwrite, and the shares pass to `after`."""
        return grads, (*(p.clone() for p in values), *self.shares(grads, values, knobs))

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """Each tensor's share of the way from where it was to what is proposed."""
        n = len(values)
        steps = zip(state[:n], values, state[n:], strict=True)
        return [torch.lerp(before, p, share) for before, p, share in steps], ()
