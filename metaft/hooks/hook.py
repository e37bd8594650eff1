"""The interface of hooks: pure functions of tensors with explicit state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metaft.tensors import Tensors

State = tuple[Tensor, ...]
Knobs = Mapping[str, Any]  # numbers or 0-d tensors by name


class Hook:
    """What a method changes in a step; this one changes nothing, and every other overrides what it needs.

    The optimizer moves `variables`; the model runs on the `parameters` made of them. Around each update,
    `before` may change the gradients and `after` what the optimizer proposes. Lists are in the
    order of the variables, `anchors` are their first values. Nothing is changed in place, and everything is
    differentiable almost everywhere, so that a hook serves plain and differentiated steps.

    One that is `entrywise` does each thing number by number, so that parts of tensors will do: its variables are
    parameters, and its state between steps is nothing, or twins of all variables.
    """

    entrywise = False

    def variables(self, pretrained: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """What the optimizer moves, from theta_0's trained parameters by name."""
        return dict(pretrained)

    def parameters(self, variables: Mapping[str, Tensor], pretrained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The model's parameters by name; those left out stay at theta_0."""
        return variables

    def initial(self, anchors: Tensors) -> State:
        """The state before the first step."""
        return ()

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients that the optimizer is to use at these values, and the next state."""
        return grads, state

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The values that replace what the optimizer proposes, and the next state."""
        return values, state

    def result(self, values: Tensors, state: State) -> Tensors:
        """The values that are evaluated and kept."""
        return values


class _Plain(Hook):
    """No change."""

    entrywise = True


PLAIN = _Plain()
