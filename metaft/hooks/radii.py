"""Adam on the radii of many balls at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaft.hooks.ball import padded
from metaft.hooks.hook import State
from metaft.tensors import Tensors

BETAS = (0.9, 0.999)
EPS = 1e-12
LEAST = 0.01  # of the longest row: a smaller ball would leave its direction to rounding
_FLOOR = 1e-30  # under the square root, whose derivative at 0 is infinite


def adam_move(
    gradient: Tensor, taken: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The number of gradients so far and Adam's moments after one more, and its move at learning rate 1; all [n].

    A gradient counts from the first that is not 0, so that an idle beginning does not dilute the moments.
    """
    taken = taken + ((gradient != 0) | (taken > 0))
    b1, b2 = BETAS
    exp_avg = torch.lerp(exp_avg, gradient, 1 - b1)
    exp_avg_sq = torch.lerp(exp_avg_sq, gradient.square(), 1 - b2)
    c1, c2 = (1 - b ** taken.clamp(min=1.0) for b in BETAS)
    return taken, exp_avg, exp_avg_sq, exp_avg / c1 / ((exp_avg_sq / c2 + _FLOOR).sqrt() + EPS)


class Radii(NamedTuple):
    """The state of n tensors' radii.

    Args:
        taken: the number of gradients counted so far, [n].
        radius: gamma, [n]; infinite before the first proposal.
        exp_avg, exp_avg_sq: Adam's moments, [n].
        norms: n tensors [rows]: the norms of what was last proposed, before it was projected.
    """

    taken: Tensor
    radius: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    norms: Tensors

    @classmethod
    def initial(cls, norms: Tensors) -> Radii:
        """No constraint, no proposal yet; `norms` are zeros."""
        zeros = norms[0].new_zeros(len(norms))
        return cls(zeros, torch.full_like(zeros, torch.inf), zeros, zeros, norms)

    @classmethod
    def of(cls, state: State) -> Radii:
        """The radii in a flat state, the inverse of `state`."""
        taken, radius, exp_avg, exp_avg_sq, *norms = state
        return cls(taken, radius, exp_avg, exp_avg_sq, norms)

    @property
    def state(self) -> State:
        """All tensors in the order of the fields, as a hook's state."""
        return (self.taken, self.radius, self.exp_avg, self.exp_avg_sq, *self.norms)

    @property
    def longest(self) -> Tensor:
        """The norm of each tensor's longest row, [n]."""
        longest: Tensor = padded(self.norms).amax(dim=1)
        return longest

    def adapted(self, gradient: Tensor, speed: Any) -> Radii:
        """One Adam step down a gradient d loss / d gamma, [n], of length `speed` times the longest row.

        That unit makes the same speed mean the same for tensors of any width and at any learning rate.
        """
        taken, exp_avg, exp_avg_sq, move = adam_move(gradient, self.taken, self.exp_avg, self.exp_avg_sq)
        return Radii(taken, self.radius - speed * self.longest * move, exp_avg, exp_avg_sq, self.norms)

    def within(self) -> Radii:
        """The radii between LEAST of the longest row and all of it."""
        longest = self.longest
        return self._replace(radius=torch.minimum(torch.maximum(self.radius, LEAST * longest), longest))
