"""GMixout: Mixout about a moving anchor, with masks that are kept for several steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaft.config.schema import HookConfig
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.mixout import Mixout
from metaft.hooks.patterns import except_for
from metaft.tensors import Tensors


class GMixout(Mixout):
    """Mixout whose anchor is a moving average of theta, and whose masks are drawn every k steps.

        w = a + m / (1 - p) (theta - a);  every k steps  a <- decay a + (1 - decay) theta, and m is drawn anew

    from a = theta_0. With decay 1 and k = 1 it is `Mixout`, whose notes hold here too.

    Of the paper an abstract and two summaries could be read, and no code: they say that the anchor is a snapshot of an
    exponential moving average and that masks have a period. That the anchor moves as masks are drawn, and the defaults
    of `decay` and `every`, are ours; within the first `every` steps of a training the anchor is theta_0. Entries that
    are put back move by what AdamW remembers of their gradients, as in Mixout; the paper's sparse kernels leave them
    where they are.

    Args:
        every: k.

    Source: Aminbeidokhti et al., Revisiting Mixout, arXiv 2510.06982 (abstract and figure 1).
    """

    def __init__(self, every: int) -> None:
        self._every = every

    def initial(self, anchors: Tensors) -> State:
        """The number of steps, [], theta and the anchor."""
        return (*super().initial(anchors), *anchors)

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The weights of the next step, after theta has moved, and the anchor where masks are drawn anew."""
        n = len(values)
        steps, theta, centres = state[0], state[1 : 1 + n], state[1 + n :]
        moved = self.moved(values, theta, centres, steps, knobs)
        if self.draw(steps + 1) > self.draw(steps):
            weight = torch.as_tensor(1 - knobs["decay"], dtype=steps.dtype, device=steps.device)
            centres = tuple(torch.lerp(a, t, weight) for a, t in zip(centres, moved, strict=True))
        return self.mixed(moved, centres, steps + 1, knobs), (steps + 1, *moved, *centres)

    def draw(self, steps: torch.Tensor) -> int:
        """The number of the masks, and of the anchor, in the step after so many steps."""
        return super().draw(steps) // self._every


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """GMixout of all parameters but those that are excluded."""
    return except_for(GMixout(knobs["every"]), names, settings.exclude)
