"""SPD: weight decay towards theta_0, only where a tensor's drift no longer helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaft.config.schema import HookConfig
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import except_for
from metaft.tensors import Tensors, lengths

_TINY = 1e-30


class SPD(Hook):
    """Selective projection decay.

        where <g, p - p_0> > 0:  p <- p~ - strength r (p~ - p_0),  r = max(0, 1 - |p - p_0| / |p~ - p_0|)

    tensor by tensor in the L2 norm, with p~ what the optimizer proposes: where the gradient asks to go back, the
    distance to theta_0 may not grow (strength 1: projection onto the ball of its last radius; the weight of p~ - p_0
    is at least 0). It has no state beyond a step. The knob is not multiplied by the learning rate. AdamW's decay
    towards 0 goes on beside it; in the authors' AdamSPD weight_decay is the strength, and there is no other.

    Source: Tian et al., Rethinking weight decay for robust fine-tuning of foundation models, NeurIPS 2024, section 3.
    """

    def initial(self, anchors: Tensors) -> State:
        """Whether each tensor is to be held, and its distance: numbers [n] that pass from `before` to `after`."""
        zeros = torch.zeros(len(anchors), dtype=anchors[0].dtype, device=anchors[0].device)
        return zeros, zeros

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients unchanged, and whether they ask each tensor to go back, with its distance so far."""
        drifts = [p - a for p, a in zip(values, anchors, strict=True)]
        pulls = torch.stack([(g * c).sum() for g, c in zip(grads, drifts, strict=True)])
        return grads, ((pulls > 0).to(pulls.dtype), lengths(drifts))

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The proposed values, drawn back where their tensor is to be held."""
        held, before = state
        now = lengths([p - a for p, a in zip(values, anchors, strict=True)])
        growth = (1 - before / now.clamp(min=_TINY)).clamp(min=0.0)
        kept = (1 - knobs["strength"] * growth * held).clamp(min=0.0)
        return [torch.lerp(a, p, w) for p, a, w in zip(values, anchors, kept, strict=True)], state


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """SPD on all parameters but those that are excluded."""
    return except_for(SPD(), names, settings.exclude)
