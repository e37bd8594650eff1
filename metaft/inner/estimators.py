"""Hypergradient estimators: pure functions of one signature, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metaft.inner.step import InnerState
from metaft.objective.batches import TrainBatch

Gradients = dict[str, Tensor]


class StepFunction(Protocol):
    """One differentiable step with explicit state."""

    def __call__(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Tensor], /) -> InnerState:
        """The next state."""
        ...


@dataclass(frozen=True)
class Estimator:
    """A registered estimator and the storages it offers."""

    description: str
    function: Callable[
        [StepFunction, InnerState, Iterable[TrainBatch], Mapping[str, Tensor], Callable[[InnerState], Tensor]],
        tuple[Tensor, Gradients],
    ]
    storages: tuple[str, ...]


def unroll_keep(
    step: StepFunction,
    state: InnerState,
    batches: Iterable[TrainBatch],
    h: Mapping[str, Tensor],
    outer: Callable[[InnerState], Tensor],
) -> tuple[Tensor, Gradients]:
    """The exact hypergradient: every step's graph is kept, then differentiated in one reverse sweep.

    d/dh outer(step(... step(state, b_1, h) ..., b_T, h)). Memory grows by about 16 copies of the parameters and
    the activations with every step.

    Args:
        state: where the inner loop starts; not differentiated.
        batches: one a step.
        h: 0-d tensors by name, in natural units.
        outer: the outer loss of a final state, [].

    Returns:
        The outer loss, detached, and its derivative by name.

    Source: Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, ICML 2017, section 3.1.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in h.items()}
    for batch in batches:
        state = step(state, batch, leaves)
    value = outer(state)
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return value.detach(), dict(zip(leaves, gradients, strict=True))


ESTIMATORS: dict[str, Estimator] = {
    "unroll": Estimator("exact, by differentiating the whole inner loop", unroll_keep, ("keep",)),
}


def estimate(
    step: StepFunction,
    state: InnerState,
    batches: Iterable[TrainBatch],
    h: Mapping[str, Tensor],
    outer: Callable[[InnerState], Tensor],
    storage: str = "keep",
    estimator: str = "unroll",
) -> tuple[Tensor, Gradients]:
    """The outer loss and its hypergradient by the named estimator; see `unroll_keep` for the arguments.

    Raises:
        KeyError: unknown estimator.
        ValueError: a storage the estimator does not offer.
    """
    chosen = ESTIMATORS[estimator]
    if storage not in chosen.storages:
        raise ValueError(f"storage {storage!r}; {estimator} offers {', '.join(chosen.storages)}")
    return chosen.function(step, state, batches, h, outer)
