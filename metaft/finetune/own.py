"""A term of a method's own, which is added to an objective's: no search knows it, and no objective names it.

Registered terms are dimensions of the standard search space, which they would make larger; these are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from metaft.clip.classifier import Outputs
from metaft.hooks.hook import State
from metaft.objective.state import StepState
from metaft.tensors import Tensors
from metaft.training.batches import TrainBatch


class Seen(NamedTuple):
    """What a method's own term sees of a step.

    Args:
        state: what every term sees.
        batch: the images, and captions where the objective needs them; a part of them, where a batch is cut into parts.
        step: the number of steps done.
        extra: the state of the step's hook.
        at: (values of the variables, batch) to the model's outputs there, which are no part of a graph.
    """

    state: StepState
    batch: TrainBatch
    step: int
    extra: State
    at: Callable[[Tensors, TrainBatch], Outputs]


@dataclass(frozen=True)
class Own:
    """A weight, and the function [] of a step that it is of: a mean over the batch's images, or of parameters."""

    weight: float
    function: Callable[[Seen], Tensor]

    def __call__(self, seen: Seen) -> Tensor:
        """The weighted term, []; at weight 0 nothing is computed."""
        return self.weight * self.function(seen) if self.weight != 0 else seen.state.logits.new_zeros(())
