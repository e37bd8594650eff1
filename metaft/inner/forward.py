"""Hypergradients by forward mode: tangents travel with the state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from metaft.config.schema import HypergradConfig
from metaft.inner.attention import second_order_attention
from metaft.inner.loop import DualStep, Estimator, Gradients, Loop, Trace, outer_adjoint, plain
from metaft.inner.state import State
from metaft.tensors import dot

Direction = Mapping[str, Tensor]  # a direction in h: by name, in its hyperparameter's shape; 0 where left out


@dataclass(frozen=True)
class Forward(Estimator):
    """The exact hypergradient by forward mode: tangents d state_t / d h_k are carried along with the state.

    Memory does not grow with T; time grows with the number of hyperparameters.

    Source: Franceschi et al., ICML 2017, section 3.2.

    >>> from metaft import differentiate
    >>> def step(x, target, h):
    ...     return x - h["rate"] * (x - target)
    >>> h, start = {"rate": torch.tensor(0.5)}, torch.zeros(())
    >>> _, slopes = differentiate(step, start, [1.0, 1.0], h, lambda x: x, Forward())
    >>> slopes["rate"].item()
    1.0
    """

    @classmethod
    def of(cls, settings: HypergradConfig) -> Forward:
        """The estimator; it has no options."""
        return cls()

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and its derivative; the trace stays empty."""
        value, slopes = along(loop, [{name: unit} for name, x in loop.h.items() for unit in _basis(x)])
        sizes = [x.numel() for x in loop.h.values()]
        parts = torch.stack(slopes).split(sizes) if slopes else [torch.zeros(0)] * len(sizes)
        return value, {name: part.view(x.shape).to(x) for (name, x), part in zip(loop.h.items(), parts, strict=True)}

    def swept(self, loop: Loop) -> None:
        """Nothing."""

    def cost(self, loop: Loop) -> float:
        """Two step equivalents a step for every hyperparameter."""
        return 2.0 * sum(x.numel() for x in loop.h.values()) * len(loop.batches)


def _basis(x: Tensor) -> Iterator[Tensor]:
    """The unit directions of a tensor's entries, each of its shape."""
    for row in torch.eye(x.numel(), dtype=x.dtype, device=x.device):
        yield row.view(x.shape)


def along(loop: Loop, directions: Sequence[Direction]) -> tuple[Tensor, list[Tensor]]:
    """The outer loss, and its slope [] along each direction."""
    state = loop.state.map(Tensor.detach)
    tangents = [state.map(torch.zeros_like) for _ in directions]
    for batch in loop.batches:
        end = None
        for i, direction in enumerate(directions):  # each old tangent is let go as the new one is there
            moved, tangents[i] = _pushed(loop, state, tangents[i], batch, direction)
            end = moved if end is None else end
        state = plain(loop.step, state, batch, loop.h) if end is None else end
    value, adjoint = outer_adjoint(loop.outer, state)
    return value, [dot(adjoint.tensors, tangent.tensors) for tangent in tangents]


def _pushed(loop: Loop, state: State, tangent: State, batch: Any, direction: Direction) -> tuple[State, State]:
    """The state and the tangent after one step, along a direction in h."""
    with second_order_attention(), _dual_level():
        leaves = state.leaves()
        dual = leaves.replaced(
            [forward_ad.make_dual(x, d) for x, d in zip(leaves.tensors, tangent.tensors, strict=True)]
        )
        h = {name: value.detach().contiguous() for name, value in loop.h.items()}
        h.update({name: forward_ad.make_dual(h[name], d.to(h[name])) for name, d in direction.items()})
        step = loop.step.dual if isinstance(loop.step, DualStep) else loop.step
        end = step(dual, batch, h)
        pairs = [forward_ad.unpack_dual(t) for t in end.tensors]
        moved = [torch.zeros_like(p) if d is None else d.detach() for p, d in pairs]
        return end.replaced([p.detach() for p, _ in pairs]), end.replaced(moved)


@contextmanager
def _dual_level() -> Iterator[None]:
    """Forward mode, without the deprecation warnings that torch's first use of it raises within torch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=FutureWarning)
        warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=DeprecationWarning)
        with forward_ad.dual_level():
            yield
