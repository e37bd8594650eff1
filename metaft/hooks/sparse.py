"""Single entries of tensors move, the others stay."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metaft.hooks.hook import Hook, Knobs, State
from metaft.tensors import Tensors


class Sparse(Hook):
    """Masks M of 0 and 1, chosen at the first step, hold the other entries where they began.

        g_t <- M g_t,  and then the optimizer's step, p_t = p_0 + M (p~_t - p_0)

    The first keeps the moments of what is masked at 0, the second undoes its weight decay; both are exact. A mask of
    ones is plain fine-tuning. The masks are a state of their own, one copy of the parameters; no derivative goes
    through the choice, which is constant almost everywhere.

    Args:
        pick: from the first gradients to the masks, in their shapes.
    """

    def __init__(self, pick: Callable[[Tensors], list[Tensor]]) -> None:
        self._pick = pick

    def initial(self, anchors: Tensors) -> State:
        """Whether the masks have been chosen, [], and masks of nothing."""
        return (torch.zeros((), dtype=anchors[0].dtype, device=anchors[0].device), *map(torch.zeros_like, anchors))

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients of what moves; zeros elsewhere."""
        chosen, *masks = (t.detach() for t in state)
        masks = masks if bool(chosen) else self._pick([g.detach() for g in grads])
        return [m * g for m, g in zip(masks, grads, strict=True)], (torch.ones_like(chosen), *masks)

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """What is proposed, where it may move."""
        _, *masks = state
        return [torch.lerp(a, p, m) for a, p, m in zip(anchors, values, masks, strict=True)], state


def largest_of_each(tensors: Tensors, per_mille: int) -> list[Tensor]:
    """Masks of the entries of the largest size, so many of a thousand in each tensor and at least one."""
    return [largest([t], math.ceil(t.numel() * per_mille / 1000))[0] for t in tensors]


def largest_of_all(tensors: Tensors, per_mille: int) -> list[Tensor]:
    """Masks of the entries of the largest size, so many of a thousand of all tensors together and at least one."""
    return largest(tensors, math.ceil(sum(t.numel() for t in tensors) * per_mille / 1000))


def largest(tensors: Tensors, count: int) -> list[Tensor]:
    """Masks of the `count` largest entries of all tensors by their size."""
    sizes = torch.cat([t.detach().abs().flatten() for t in tensors])
    mask = torch.zeros_like(sizes)
    mask[sizes.topk(count).indices] = 1.0
    parts = mask.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]
