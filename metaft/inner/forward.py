"""Hypergradients by forward mode: tangents travel with the state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from metaft.inner.loop import Loop
from metaft.inner.state import InnerState
from metaft.inner.step import second_order_attention
from metaft.inner.sweep import DualStep, Gradients, outer_adjoint, plain
from metaft.objective.vectors import dot


def forward(loop: Loop) -> tuple[Tensor, Gradients]:
    """The exact hypergradient by forward mode: tangents d state_t / d h_k go along with the state.

    Memory does not grow with T; time grows with the number of hyperparameters.

    Source: Franceschi et al., ICML 2017, section 3.2.
    """
    value, slopes = along(loop, [{name: 1.0} for name in loop.h])
    return value, dict(zip(loop.h, slopes, strict=True))


def along(loop: Loop, directions: Sequence[Mapping[str, float]]) -> tuple[Tensor, list[Tensor]]:
    """The outer loss, and its slope along each direction in h (a number by name; 0 where left out)."""
    state = loop.state.map(Tensor.detach)
    tangents = [state.map(torch.zeros_like) for _ in directions]
    for batch in loop.batches:
        steps = [_pushed(loop, state, tangent, batch, d) for tangent, d in zip(tangents, directions, strict=True)]
        state = steps[0][0] if steps else plain(loop.step, state, batch, loop.h)
        tangents = [tangent for _, tangent in steps]
    value, adjoint = outer_adjoint(loop.outer, state)
    return value, [dot(adjoint.tensors, tangent.tensors) for tangent in tangents]


def _pushed(
    loop: Loop, state: InnerState, tangent: InnerState, batch: Any, direction: Mapping[str, float]
) -> tuple[InnerState, InnerState]:
    """One step of a state and a tangent."""
    with second_order_attention(), _dual_level():
        leaves = state.leaves()
        dual = leaves.replaced(
            [forward_ad.make_dual(x, d) for x, d in zip(leaves.tensors, tangent.tensors, strict=True)]
        )
        h = {name: value.detach() for name, value in loop.h.items()}
        h.update({k: forward_ad.make_dual(h[k], torch.full_like(h[k], d)) for k, d in direction.items()})
        step = loop.step.dual if isinstance(loop.step, DualStep) else loop.step
        end = step(dual, batch, h)
        pairs = [forward_ad.unpack_dual(t) for t in end.tensors]
        moved = [torch.zeros_like(p) if d is None else d.detach() for p, d in pairs]
        return end.replaced([p.detach() for p, _ in pairs]), end.replaced(moved)


@contextmanager
def _dual_level() -> Iterator[None]:
    """Forward mode, whose first use has torch compile decompositions in a way that it deprecates itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=FutureWarning)
        warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=DeprecationWarning)
        with forward_ad.dual_level():
            yield
