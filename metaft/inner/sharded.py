"""Inner steps on shards: each rank holds a part of every tensor of a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from metaft.apart import apart, each
from metaft.clip.blockwise import Blockwise
from metaft.clip.classifier import Classifier, Outputs
from metaft.config.schema import ComputeConfig
from metaft.inner.running import RunningStep
from metaft.inner.state import InnerState
from metaft.names import ALPHA
from metaft.shards import Shards
from metaft.training.batches import TrainBatch


class ShardedStep(RunningStep):
    """A `Step` whose states are shards (see `metaft.shards`), as differentiable; a block at a time is whole.

    Hyperparameters meet shards through `each`, so that derivatives by them are summed over the ranks: those by learning
    rates, weight decay, knobs and `alpha`. Those by the weights of penalties are so by these sums' own derivatives, and
    those by weights of terms on a batch are common.

    Args:
        hook: one that is `entrywise`.
    """

    layout: Shards
    _running: Blockwise

    def _laid_out(self, classifier: Classifier) -> Shards:
        return Shards({name: p.shape for name, p in classifier.named_parameters()})

    def _over(self, classifier: Classifier, how: ComputeConfig) -> Blockwise:
        masks = {name: torch.zeros_like(classifier.get_parameter(name)) for name in self._dead}
        for name, mask in masks.items():
            mask[self._dead[name]] = 1
        self._dead_shards = {name: mask.bool() for name, mask in self.layout.held(masks).items()}
        return Blockwise(classifier, how, self.layout.shapes)

    def _at(self, params: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        return Outputs(*apart(self._alone, params, images, tokens, sharded=True))  # type: ignore[arg-type]

    def _live(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        dead = {n: torch.where(m, params[n].detach(), params[n]) for n, m in self._dead_shards.items() if n in params}
        return {**params, **dead}

    def _gradient(
        self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any], graph: bool
    ) -> Sequence[Tensor | None]:
        with self._running.kept_in_pieces() if graph else nullcontext():
            return super()._gradient(params, batch, h, graph)

    def _updated(self, state: InnerState, grads: Sequence[Tensor | None], h: Mapping[str, Any]) -> InnerState:
        return super()._updated(state, grads, _met(h))

    def mixed(self, state: InnerState, alpha: Any) -> InnerState:
        """The state with its variables at anchors + alpha (variables - anchors)."""
        return super().mixed(state, _met({ALPHA: alpha})[ALPHA])


def _met(h: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as they are used on shards."""
    return {**h, **each({name: x for name, x in h.items() if isinstance(x, Tensor)})}
