"""TPGM: balls around theta_0 whose radii learn on validation batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metaft.hooks.ball import padded, project, radius_gradient, row_norms, row_pulls
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import picked, placed
from metaft.hooks.radii import Radii
from metaft.tensors import Tensors

Probe = Callable[[list[Tensor], int], Tensors]


class TPGM(Hook):
    """Trainable projected gradient method.

        repeat: gamma <- gamma - speed max_r(n_r) Adam(d L_val(Pi_gamma(p~)) / d gamma);  then p <- Pi_gamma(p~)

    after every update, or once after a fine-tune. Radii start at half the shortest row's norm. As in `FTP` a radius
    moves in units of the longest row, where the paper's code moves it by 0.01 in absolute units, and is at least 1 % of
    that row; Adam on radii is `FTP`'s.

    Args:
        probe: (values, number) to the gradients of the validation loss there, on batch `number`, which counts up.
        iterations: steps on the radii before each projection.
        norm: `mars` or `l2` (see `metaft.hooks.ball`).
        numbers: of the variables that are projected; None: all.

    Source: Tian et al., Trainable projected gradient method for robust fine-tuning, CVPR 2023, algorithm 1.
    """

    def __init__(self, probe: Probe, iterations: int, norm: str, numbers: Sequence[int] | None = None) -> None:
        self._probe, self._iterations, self.norm, self._numbers = probe, iterations, norm, numbers

    def initial(self, anchors: Tensors) -> State:
        """The number of batches seen, [], and radii that the first proposal will set."""
        norms = [row_norms(a, self.norm) for a in picked(anchors, self._chosen(anchors))]
        radii = Radii.initial([torch.zeros_like(n) for n in norms])
        return (torch.zeros((), dtype=torch.int64), *radii.state)

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The proposed values, projected after the radii have learned on them."""
        seen, radii, chosen = state[0], Radii.of(state[1:]), self._chosen(anchors)
        moving, centres = picked(values, chosen), picked(anchors, chosen)
        drifts = [p - a for p, a in zip(moving, centres, strict=True)]
        radii = radii._replace(norms=[row_norms(c, self.norm) for c in drifts])
        half = torch.stack([n.min() / 2 for n in radii.norms])
        radii = radii._replace(radius=torch.where(radii.radius.isinf(), half, radii.radius)).within()
        lengths = padded(radii.norms)
        for _ in range(self._iterations):
            point = placed(values, chosen, self._projected(moving, centres, radii))
            grads = picked(self._probe(point, int(seen)), chosen)
            pulls = padded([row_pulls(g, c, self.norm) for g, c in zip(grads, drifts, strict=True)])
            gradient = radius_gradient(pulls, lengths, radii.radius, lengths)
            radii, seen = radii.adapted(gradient, knobs["speed"]).within(), seen + 1
        return placed(values, chosen, self._projected(moving, centres, radii)), (seen, *radii.state)

    def _chosen(self, anchors: Tensors) -> Sequence[int]:
        return range(len(anchors)) if self._numbers is None else self._numbers

    def _projected(self, values: Tensors, anchors: Tensors, radii: Radii) -> list[Tensor]:
        parts = zip(values, anchors, radii.radius, strict=True)
        return [project(p, a, r, self.norm) for p, a, r in parts]
