"""Mixout: in every step parameters are put back to theta_0 at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HookConfig
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import except_for
from metaft.tensors import Tensors


class Mixout(Hook):
    """Training at weights of which each entry is, with probability p, put back to its anchor.

        w = a + m / (1 - p) (theta - a),  m_i = 0 with probability p and else 1,  a = theta_0

    The loss is taken at w, whose mean over masks is theta, and theta moves by what the optimizer makes of
    dL / d theta = m / (1 - p) dL / dw. The result is theta. Where p is 0, nothing is changed. The optimizer holds w,
    the state theta: one more copy of the parameters.

    Masks are drawn anew in each step, by the step's number alone: a step can be repeated, and those of other seeds see
    the same masks. The derivative by p is that of the step with these masks, without what a larger p would mask beyond.

    It differs from the paper's code in four ways. All trained tensors are mixed, not linear layers alone. Each entry
    has a mask of its own, where the code puts back whole columns. The gradient has the factor 1 / (1 - p) of the chain
    rule, which the code leaves out; to AdamW it is the same but for eps. Weight decay is that of w.

    Source: Lee, Cho and Kang, Mixout, ICLR 2020, arXiv 1909.11299, section 3 (p of 0.7 to 0.9 in its experiments).
    """

    def initial(self, anchors: Tensors) -> State:
        """The number of steps, [], and theta."""
        return (anchors[0].new_zeros(()), *anchors)

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients by theta."""
        factors = self.factors(state[0], values, knobs["probability"])
        return [g * f for g, f in zip(grads, factors, strict=True)], state

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The weights of the next step, after theta has moved as the proposed ones did."""
        steps, *theta = state
        moved = self.moved(values, theta, anchors, steps, knobs)
        return self.mixed(moved, anchors, steps + 1, knobs), (steps + 1, *moved)

    def result(self, values: Tensors, state: State) -> Tensors:
        """Theta, in place of w."""
        return state[1 : 1 + len(values)]

    def moved(self, values: Tensors, theta: Tensors, anchors: Tensors, steps: Tensor, knobs: Knobs) -> list[Tensor]:
        """Theta, moved as far as the weights w of a step have been to the proposed values."""
        weights = self.mixed(theta, anchors, steps, knobs)
        return [v + (t - w) for v, t, w in zip(values, theta, weights, strict=True)]

    def mixed(self, theta: Tensors, anchors: Tensors, steps: Tensor, knobs: Knobs) -> list[Tensor]:
        """The weights w of the step after so many steps; exactly theta at p = 0."""
        factors = self.factors(steps, theta, knobs["probability"])
        return [torch.lerp(a, t, f) for a, t, f in zip(anchors, theta, factors, strict=True)]

    def factors(self, steps: Tensor, like: Tensors, probability: Any) -> list[Tensor]:
        """m / (1 - p) for each tensor, in the step after so many steps."""
        generator = torch.Generator(like[0].device).manual_seed(self.draw(steps))
        uniform = [torch.rand(t.shape, generator=generator, dtype=t.dtype, device=t.device) for t in like]
        p = torch.as_tensor(probability, dtype=like[0].dtype, device=like[0].device)
        return [(u >= p.detach()).to(u) / (1 - p) for u in uniform]

    def draw(self, steps: Tensor) -> int:
        """The number of the masks of the step after so many steps."""
        return round(steps.detach().item())


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """Mixout of all parameters but those that are excluded."""
    return except_for(Mixout(), names, settings.exclude)
