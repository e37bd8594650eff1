"""Hypergradient estimators: pure functions of one signature, by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from metaft.errors import ConfigError, Problem, unknown
from metaft.inner.solvers import SOLVERS, Vector
from metaft.inner.step import InnerState, second_order_attention
from metaft.inner.storage import STORAGES, Footprint, Plan, free_memory, graph_bytes, plan_for
from metaft.inner.sweep import (
    Gradients,
    Link,
    Outer,
    StepFunction,
    Trace,
    Unrolled,
    outer_adjoint,
    plain,
    unrolled,
)


@dataclass(frozen=True)
class Options:
    """What only some estimators or storages read.

    Args:
        memory: the budget of `auto` in bytes; None: a share of what is free.
        offload: states wait in host memory (on a GPU).
        footprint: what `measure` gave for a loop of these shapes, so that `auto` need not measure again.
        last: how many steps `truncated` differentiates.
        solver, iterations, damping, scale: of `implicit` (see `metaft.inner.solvers`).
        trace: filled by a reverse sweep.
    """

    memory: float | None = None
    offload: bool = False
    footprint: Footprint | None = None
    last: int = 5
    solver: str = "cg"
    iterations: int = 10
    damping: float = 0.0
    scale: float = 1.0
    trace: Trace | None = None


DEFAULT = Options()


@dataclass(frozen=True)
class Loop:
    """The arguments every estimator takes."""

    step: StepFunction
    state: InnerState
    batches: Sequence[Any]
    h: Mapping[str, Tensor]
    outer: Outer
    storage: str = "keep"
    options: Options = field(default_factory=Options)

    def plan(self) -> Plan:
        """What the storage keeps of this loop."""
        options, budget = self.options, self.options.memory
        if budget is None and self.storage == "auto":
            budget = free_memory(self.state.params[0].device)
        return plan_for(
            self.storage,
            len(self.batches),
            lambda: options.footprint or measure(self.step, self.state, self.batches[0], self.h, self.outer),
            budget,
            options.offload,
        )


@dataclass(frozen=True)
class Estimator:
    """A registered estimator: its cost in step equivalents without the outer loss, its storages, what it refuses."""

    description: str
    function: Callable[[Loop], tuple[Tensor, Gradients]]
    cost: Callable[[Loop], float]
    storages: tuple[str, ...] = ("auto", "keep")
    refuses: tuple[str, ...] = ()


def unroll(loop: Loop) -> tuple[Tensor, Gradients]:
    """The exact hypergradient, by a reverse sweep through the whole inner loop; see `metaft.inner.sweep`."""
    whole = Unrolled(loop.step, loop.batches, loop.h, loop.plan())
    return unrolled(whole, loop.state, loop.outer, loop.options.trace or Trace())


def truncated(loop: Loop) -> tuple[Tensor, Gradients]:
    """The hypergradient through the last k steps alone: what h did to the state before them is left out.

    Source: Shaban et al., Truncated back-propagation for bilevel optimization, AISTATS 2019, section 3.
    """
    tail, state = _tail(loop), loop.state
    for t in range(len(loop.batches) - len(tail.batches)):
        state = plain(loop.step, state, loop.batches[t], loop.h)
    return unroll(replace(tail, state=state))


def _tail(loop: Loop) -> Loop:
    """The last steps of a loop."""
    return replace(loop, batches=_After(loop.batches, max(0, len(loop.batches) - loop.options.last)))


def _last(loop: Loop) -> Loop:
    """The loop, of which `truncated` takes the last step alone."""
    return replace(loop, options=replace(loop.options, last=1))


def one_step(loop: Loop) -> tuple[Tensor, Gradients]:
    """The hypergradient through the last step alone.

    Source: Luketina et al., Scalable gradient-based tuning of continuous regularization hyperparameters, ICML 2016.
    """
    return truncated(_last(loop))


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
    return value, [_inner(adjoint, tangent) for tangent in tangents]


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
        end = loop.step(dual, batch, h)
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


def implicit(loop: Loop) -> tuple[Tensor, Gradients]:
    """The hypergradient at a stationary point of the inner loss, by the implicit function theorem.

    d/dh = - d/dh <grad L(theta_T, h), v>,  (H + damping I) v = d outer / d theta,  H the Hessian of L on the last batch

    Right where grad L(theta_T, h) = 0 and H is positive definite; the learning rate and weight decay do not appear.

    Source: Pedregosa, Hyperparameter optimization with approximate gradient, ICML 2016 (CG); Lorraine et al., AISTATS
    2020 (Neumann).
    """
    state = loop.state
    for batch in loop.batches:
        state = plain(loop.step, state, batch, loop.h)
    value, adjoint = outer_adjoint(loop.outer, state)
    if not isinstance(loop.step, HasLoss):
        raise TypeError("step: has no `loss(params, batch, h)`; `implicit` needs the inner loss")
    params, h = state.leaves().params, {k: x.detach().requires_grad_() for k, x in loop.h.items()}
    with second_order_attention():
        loss = loop.step.loss(params, loop.batches[-1], h)
        found = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True, materialize_grads=True)
    live = [i for i, g in enumerate(found) if g.requires_grad]
    grads, inputs = [found[i] for i in live], [params[i] for i in live]

    def hessian(vector: Vector) -> Vector:
        pulled = torch.autograd.grad(
            grads, inputs, list(vector), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return torch._foreach_add(list(pulled), list(vector), alpha=loop.options.damping)

    options = loop.options
    solution = SOLVERS[options.solver](hessian, [adjoint.params[i] for i in live], options.iterations, options.scale)
    pulled = torch.autograd.grad(grads, list(h.values()), solution, allow_unused=True, materialize_grads=True)
    return value, {name: -x for name, x in zip(h, pulled, strict=True)}


@runtime_checkable
class HasLoss(Protocol):
    """A step that shows the loss it descends."""

    def loss(self, params: Sequence[Tensor], batch: Any, h: Mapping[str, Any], /) -> Tensor:
        """The inner loss []."""
        ...


def measure(step: StepFunction, state: InnerState, batch: Any, h: Mapping[str, Tensor], outer: Outer) -> Footprint:
    """The bytes of a state, of one step's graph and of the outer loss's."""
    state = state.map(Tensor.detach)

    def inner_graph() -> tuple[object, object]:
        link = Link(step, state, batch, h)
        return link, link.end.map(Tensor.detach)

    return Footprint(
        sum(t.numel() * t.element_size() for t in state.tensors),
        graph_bytes(inner_graph),
        graph_bytes(lambda: (outer(state.leaves()), None)),
    )


@dataclass(frozen=True)
class _After(Sequence[Any]):
    """A sequence without its first `skipped` items, none of them loaded."""

    whole: Sequence[Any]
    skipped: int

    def __len__(self) -> int:
        return len(self.whole) - self.skipped

    def __getitem__(self, number: Any) -> Any:
        return self.whole[range(self.skipped, len(self.whole))[number]]


def _inner(a: InnerState, b: InnerState) -> Tensor:
    return torch.stack([(x * y).sum().double() for x, y in zip(a.tensors, b.tensors, strict=True)]).sum()


def _sweep_cost(loop: Loop) -> float:
    return loop.plan().cost(len(loop.batches))


def _truncated_cost(loop: Loop) -> float:
    tail = _tail(loop)
    return len(loop.batches) - len(tail.batches) + _sweep_cost(tail)


ESTIMATORS: dict[str, Estimator] = {
    "unroll": Estimator("exact, by a reverse sweep through the whole inner loop", unroll, _sweep_cost, STORAGES),
    "truncated": Estimator("through the last steps alone (hypergrad.last)", truncated, _truncated_cost, STORAGES),
    "one_step": Estimator("through the last step alone", one_step, lambda loop: _truncated_cost(_last(loop)), STORAGES),
    "forward": Estimator(
        "exact, by forward mode; for few hyperparameters", forward, lambda loop: 3.0 * len(loop.h) * len(loop.batches)
    ),
    "implicit": Estimator(
        "by the implicit function theorem, for term weights",
        implicit,
        lambda loop: len(loop.batches) + 1 + 2.0 * (loop.options.iterations + 1),
        refuses=("lr", "wd"),
    ),
}


def estimate(
    step: StepFunction,
    state: InnerState,
    batches: Iterable[Any],
    h: Mapping[str, Tensor],
    outer: Outer,
    storage: str = "keep",
    estimator: str = "unroll",
    options: Options = DEFAULT,
) -> tuple[Tensor, Gradients]:
    """The outer loss of the inner loop's end, and its derivative by each hyperparameter, in natural units.

    Args:
        step: (state, batch, h) -> state, differentiable; with a method `plain` of the same arguments, a step without
            a graph is taken by it.
        state: where the inner loop starts; not differentiated.
        batches: one a step.
        h: 0-d tensors by name.
        outer: the outer loss [] of a final state.

    Returns:
        The outer loss, detached, and its derivative by name.

    Raises:
        ConfigError: an unknown name, a storage the estimator does not offer, a hyperparameter it cannot serve, or no
            inner steps.
    """
    if not isinstance(batches, Sequence):
        batches = list(batches)
    found = refusals(estimator, storage, h)
    if not batches:
        found.append(Problem("inner.steps", "0 steps", "at least 1"))
    if found:
        raise ConfigError(found)
    return ESTIMATORS[estimator].function(Loop(step, state, batches, h, outer, storage, options))


def refusals(estimator: str, storage: str, names: Iterable[str]) -> list[Problem]:
    """Why an estimator cannot do what it is asked for."""
    if estimator not in ESTIMATORS:
        return [unknown("hypergrad.estimator", estimator, ESTIMATORS)]
    chosen, found = ESTIMATORS[estimator], []
    if storage not in chosen.storages:
        found.append(unknown("hypergrad.storage", storage, chosen.storages))
    refused = [name for name in names if name.partition("@")[0] in chosen.refuses]
    if refused:
        able = ", ".join(name for name, e in ESTIMATORS.items() if not e.refuses)
        what = f"{estimator!r} cannot differentiate by {', '.join(refused)}, which the inner loss does not hold"
        found.append(Problem("hypergrad.estimator", what, f"{able}; or fix them under objective.fixed"))
    return found
