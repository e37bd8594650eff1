"""The losses of a step at and beside its parameters: the model once differentiated, what follows it expanded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaft.inner.loop import Gradients, HalvedStep, Part
from metaft.inner.parts import mean
from metaft.tensors import pulled


class Seen(NamedTuple):
    """What a pass through the model shows: gradients by the parameters, and outputs z on each part of the batch."""

    grads: list[Tensor | None]
    outputs: list[list[Tensor]]

    def map(self, change: Callable[[Tensor], Tensor]) -> Seen:
        """The same with every tensor changed."""
        grads = [None if g is None else change(g) for g in self.grads]
        return Seen(grads, [[change(z) for z in part] for part in self.outputs])


class Expansion:
    """The slopes c = dL/dz of the loss on a part of a batch around outputs z_0, to first order in z and in h."""

    def __init__(self, part: Part, origin: Sequence[Tensor], h: Mapping[str, Tensor]) -> None:
        self.share, self._origin, self._h = part.share, origin, {k: x.detach().requires_grad_() for k, x in h.items()}
        self._points = [z.detach().requires_grad_() for z in origin]
        with torch.enable_grad():
            loss = part.loss(self._points, self._h)
            self._slopes = _derivative([loss], [torch.ones_like(loss)], self._points, graph=True)

    @property
    def slopes(self) -> list[Tensor]:
        """c at z_0."""
        return [c.detach() for c in self._slopes]

    def moves(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """z - z_0."""
        return [z.detach() - z_0 for z, z_0 in zip(outputs, self._origin, strict=True)]

    def slopes_after(self, move: Sequence[Tensor]) -> list[Tensor]:
        """c + d^2L/dz^2 move."""
        bent = _derivative(self._slopes, move, self._points)
        return [c.detach() + b for c, b in zip(self._slopes, bent, strict=True)]

    def by_h(self, move: Sequence[Tensor]) -> Gradients:
        """The derivative of <c, move> by each hyperparameter."""
        return dict(zip(self._h, _derivative(self._slopes, move, list(self._h.values())), strict=True))


def expansions(
    step: HalvedStep, batch: Any, h: Mapping[str, Tensor], origin: Sequence[list[Tensor]]
) -> list[Expansion]:
    """Those of all parts of a batch, around the outputs on each."""
    return [Expansion(part, at, h) for part, at in zip(step.parts(batch), origin, strict=True)]


def seen_at(step: HalvedStep, params: Sequence[Tensor], batch: Any, h: Mapping[str, Tensor]) -> Seen:
    """The outputs z at these parameters, and the gradients J^T c."""
    grads, outputs = [], []
    for part, leaves, zs in _passes(step, params, batch):
        outputs.append([z.detach() for z in zs])
        grads.append((part.share, _pulled(zs, leaves, Expansion(part, outputs[-1], h).slopes)))
    return Seen(mean(grads), outputs)


def seen_beside(step: HalvedStep, params: Sequence[Tensor], batch: Any, around: Sequence[Expansion]) -> Seen:
    """How far the outputs at these parameters are from those of expansions, and the gradients J^T c there."""
    grads, moves = [], []
    for (part, leaves, zs), expansion in zip(_passes(step, params, batch), around, strict=True):
        moves.append(expansion.moves(zs))
        grads.append((part.share, _pulled(zs, leaves, expansion.slopes_after(moves[-1]))))
    return Seen(mean(grads), moves)


def moved_beside(step: HalvedStep, params: Sequence[Tensor], batch: Any, around: Sequence[Expansion]) -> list[Tensor]:
    """How far the outputs at these parameters are from those of expansions, of all parts in a row."""
    with torch.no_grad():
        outputs = [part.outputs(params) for part in step.parts(batch)]
    return [move for zs, expansion in zip(outputs, around, strict=True) for move in expansion.moves(zs)]


def by_hyperparameter(around: Sequence[Expansion], moves: Sequence[Tensor]) -> Gradients:
    """The derivative of <c, z'> by each hyperparameter, where outputs move by z' (of all parts, in a row)."""
    rest, totals = iter(moves), dict[str, Tensor]()
    for expansion in around:
        move = [expansion.share * next(rest) for _ in expansion.slopes]
        for name, x in expansion.by_h(move).items():
            totals[name] = totals[name] + x if name in totals else x
    return totals


def _passes(
    step: HalvedStep, params: Sequence[Tensor], batch: Any
) -> Iterator[tuple[Part, list[Tensor], list[Tensor]]]:
    """Part by part: the part, parameters to differentiate by, and the outputs as functions of them."""
    for part in step.parts(batch):
        leaves = [p.detach().requires_grad_() for p in params]
        with torch.enable_grad():
            outputs = part.outputs(leaves)
        yield part, leaves, outputs


def _derivative(
    values: Sequence[Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor], *, graph: bool = False
) -> list[Tensor]:
    """The derivative of <values, weights> by the inputs, 0 where there is none; the graph stays."""
    if not any(y.requires_grad for y in values):
        return [torch.zeros_like(x) for x in inputs]
    return list(pulled(values, weights, inputs, retain_graph=True, create_graph=graph))


def _pulled(outputs: Sequence[Tensor], leaves: Sequence[Tensor], slopes: Sequence[Tensor]) -> list[Tensor | None]:
    """J^T slopes; None where no output depends on a parameter."""
    pairs = [(z, c) for z, c in zip(outputs, slopes, strict=True) if z.requires_grad]
    if not pairs:
        return [None] * len(leaves)
    zs, cs = zip(*pairs, strict=True)
    return list(torch.autograd.grad(zs, leaves, cs, allow_unused=True))
