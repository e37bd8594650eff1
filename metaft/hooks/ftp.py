"""FTP: balls around theta_0 whose radii learn from the next batch's gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HookConfig
from metaft.hooks.ball import padded, radius_gradient, row_norms, row_pulls, scaled, shares
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import except_for
from metaft.hooks.radii import Radii
from metaft.tensors import Tensors


class FTP(Hook):
    """Fast trainable projection.

        h_t     = d L_t / d gamma_{t-1} = sum over projected rows of <g_t, p_{t-1} - p_0>_r / gamma_{t-1}
        gamma_t = gamma_{t-1} - speed max_r(n_r) Adam(h_t),  with h_t times kappa where h_t > 0
        p_t     = p_0 + min(1, gamma_t / n_r) (p~_t - p_0),  with p~_t what the optimizer proposes

    The gradient of a batch is taken at p_{t-1}, so the derivative with respect to the radius that made p_{t-1} costs
    one dot product and no validation data. Knobs: `kappa` in [0, 1], at 0 a ball can only grow; `speed`, the share of
    the longest row by which a radius may move in a step.

    Beside one copy of the parameters it keeps four numbers per tensor and one per row. It differs from the paper's code
    in six ways. p_{t-1} - p_0 replaces a stored copy of the previous update. A radius moves in units of the longest
    row, not by 0.01 in absolute units, which mean something else at every width and learning rate. The first step is
    free; a first radius of 1e-8 would undo it. Rows inside the ball have their true derivative, 0. A radius is at least
    1 % of the longest row, not 1e-8. Adam on radii has an eps of 1e-12, not 1e-8, and counts from the first gradient
    that is not 0, not from the first step.

    Source: Tian et al., Fast trainable projection for robust fine-tuning, NeurIPS 2023, section 3 and algorithm 1.
    """

    def __init__(self, norm: str = "mars") -> None:
        self.norm = norm

    def initial(self, anchors: Tensors) -> State:
        """No constraint until the first step has been proposed."""
        return Radii.initial([torch.zeros_like(row_norms(a, self.norm)) for a in anchors]).state

    def gradient(self, pulls: Tensors, radii: Radii) -> Tensor:
        """h_t by tensor, [n], from <g_t, p_{t-1} - p_0> of each tensor's rows."""
        return radius_gradient(padded(pulls), radii.radius[:, None], radii.radius, padded(radii.norms))

    def learned(self, gradient: Tensor, radii: Radii, knobs: Knobs) -> Radii:
        """The radii after one step down a gradient [n]."""
        return radii.adapted(torch.where(gradient > 0, knobs["kappa"] * gradient, gradient), knobs["speed"])

    def bounded(self, norms: Tensors, radii: Radii) -> tuple[Tensor, Radii]:
        """The share of each row's drift that stays, [n, rows], and the radii within what was proposed.

        Args:
            norms: n_r of each tensor's rows, as proposed.
        """
        radii = radii._replace(norms=norms).within()
        return shares(radii.radius, padded(norms)), radii

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients unchanged; the radii take a step down them."""
        radii = Radii.of(state)
        pulls = [row_pulls(g, p - a, self.norm) for g, p, a in zip(grads, values, anchors, strict=True)]
        return grads, self.learned(self.gradient(pulls, radii), radii, knobs).state

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The proposed values, projected onto the balls."""
        norms = [row_norms(p - a, self.norm) for p, a in zip(values, anchors, strict=True)]
        kept, radii = self.bounded(norms, Radii.of(state))
        parts = zip(values, anchors, kept, strict=True)
        return [scaled(p, a, share, self.norm) for p, a, share in parts], radii.state


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """FTP on all parameters but those that are excluded."""
    return except_for(FTP(knobs["norm"]), names, settings.exclude)
