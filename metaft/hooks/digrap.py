"""DiGraP: where a step would go against the way back to theta_0, a learned share of that part is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HookConfig
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import except_for
from metaft.hooks.radii import adam_move
from metaft.tensors import Tensors, lengths

_TINY = 1e-30


class DiGraP(Hook):
    """Directional gradient projection, tensor by tensor.

        c_t     = p_{t-1} - p_0,  r_t = <g_t, c_t> / |c_t|^2 c_t           (the part of g_t along c_t)
        h_t     = cos(g_t, r_{t-1}),  which has the sign of d L_t / d omega_{t-1}
        omega_t = clip(omega_{t-1} - speed Adam(h_t), 0, 1),  omega_1 = 0
        g_t    <- g_t - omega_t r_t  where <g_t, c_t> < 0, and then the optimizer's step

    A negative <g_t, c_t> says that descending takes the tensor further from p_0: the two aims conflict. At omega 0 the
    step is the plain one, at omega 1 it is orthogonal to c_t. With p_{t-1} = p_{t-2} - lr (g_{t-1} - omega r_{t-1}) the
    derivative by omega is lr <g_t, r_{t-1}>; it is taken whether or not r_{t-1} was left out, as the paper's algorithm
    does, so that omega is learned before it is needed. Knob: `speed`, the most by which omega moves in a step (mu).

    It keeps a copy of the parameters (r_{t-1}) and four numbers per tensor. The paper normalises the derivative; here
    that is by the lengths of both its factors. Algorithm 1 as printed has the opposite branches: a free step where
    <g_t, c_t> < 0, a projected one elsewhere. The paper's text, figure 1 and the authors' earlier code with a fixed
    omega (optimizer/spcg.py) project where it is below 0, as here. AdamW's decay towards 0 goes on beside it; in that
    code weight_decay is omega, and there is no other.

    Source: Huang et al., Directional gradient projection for robust fine-tuning of foundation models, ICLR 2025,
    algorithm 1.
    """

    def initial(self, anchors: Tensors) -> State:
        """The number of derivatives so far, omega and Adam's moments, [n] each, and r_0 = 0 of each tensor."""
        zeros = torch.zeros(len(anchors), dtype=anchors[0].dtype, device=anchors[0].device)
        return (zeros, zeros, zeros, zeros, *(torch.zeros_like(a) for a in anchors))

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients without the learned share of what conflicts."""
        taken, omega, exp_avg, exp_avg_sq, *last = state
        taken, exp_avg, exp_avg_sq, move = adam_move(_cosines(grads, last), taken, exp_avg, exp_avg_sq)
        omega = (omega - knobs["speed"] * move).to(omega).clamp(0.0, 1.0)
        drifts = [p - a for p, a in zip(values, anchors, strict=True)]
        pulls = _dots(grads, drifts)
        along = pulls / _dots(drifts, drifts).clamp(min=_TINY)
        parts = [r * c for r, c in zip(along, drifts, strict=True)]
        left_out = torch.where(pulls < 0, omega, torch.zeros_like(omega))
        changed = [g - w * r for g, w, r in zip(grads, left_out, parts, strict=True)]
        return changed, (taken, omega, exp_avg, exp_avg_sq, *parts)


def _dots(a: Tensors, b: Tensors) -> Tensor:
    """<a, b> of each pair, [n]."""
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)])


def _cosines(a: Tensors, b: Tensors) -> Tensor:
    """<a, b> / (|a| |b|) of each pair, [n]; 0, with derivative 0, where either is 0."""
    return _dots(a, b) / (lengths(a) * lengths(b)).clamp(min=_TINY)


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """DiGraP on all parameters but those that are excluded."""
    return except_for(DiGraP(), names, settings.exclude)
