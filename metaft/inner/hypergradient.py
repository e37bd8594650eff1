"""The hypergradient of any inner loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metaft.config.read import from_mapping
from metaft.config.schema import HypergradConfig
from metaft.errors import ConfigError, Fault
from metaft.inner.loop import Estimator, Gradients, Loop, Outer, StepFunction
from metaft.inner.nested import NumberedBatches, faults_of_contents, nested, nested_outer
from metaft.inner.registry import ESTIMATORS, refusals
from metaft.inner.state import InnerState, State, Tree
from metaft.progress import warn


def differentiate(
    step: StepFunction,
    state: Any,
    batches: Iterable[Any],
    h: Mapping[str, Tensor],
    outer: Outer,
    estimator: str | Estimator = "unroll",
) -> tuple[Tensor, Gradients]:
    """The outer loss at the end of an inner loop, and its derivative with respect to each hyperparameter.

        state_t = step(state_{t-1}, batch_t, h) for t = 1 .. T;  value = outer(state_T);  d value / d h

    Any torch model and any loss will do: the step is yours, as long as it is differentiable in the state and in h.

    Args:
        step: (state, batch, h) to the next state, of the same structure; it may not change what it is given, whose
            tensors require gradients, and has to give the same when it is called again; what it draws from torch's
            default generators, as dropout does, is drawn alike. For `metaft.Implicit` it is an object with a method
            `loss(state, batch, h)`, the inner loss [], too.
        state: where the loop starts: tensors in any nesting of tuples, lists and dicts; not differentiated.
        batches: T of them, one per step.
        h: floating-point tensors of any shape by name; one that no graph of a step leads to is told of.
        outer: the outer loss [] of a final state alone.
        estimator: a name that `--list estimators` shows, or an estimator with options (`metaft.Unroll`,
            `metaft.Truncated`, `metaft.Forward`, `metaft.Implicit`).

    Returns:
        The outer loss, detached, and d value / d h by name, each in its hyperparameter's shape.

    Raises:
        ConfigError: an unknown estimator, no batches, no tensor in `state` or `h`, contents of `state` in which tensors
            are not found, a step whose result hangs on neither of them or that changes them in place, or an outer loss
            that is not one number, does not depend on the state, or depends on `h` by itself.

    Source: Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, ICML 2017.

    >>> import torch
    >>> descend = lambda x, target, h: x - h["rate"] * 2 * (x - target)
    >>> rate = torch.tensor(0.25, dtype=torch.float64)
    >>> start = torch.zeros((), dtype=torch.float64)
    >>> value, slope = differentiate(descend, start, [1.0, 1.0], {"rate": rate}, lambda x: (x - 1) ** 2)
    >>> value.item(), slope["rate"].item()  # (1 - 2 rate)^4 and its derivative
    (0.0625, -1.0)
    """
    known = isinstance(estimator, str) and estimator in ESTIMATORS
    chosen = ESTIMATORS[str(estimator)].make(HypergradConfig()) if known else estimator
    faults = [] if isinstance(chosen, Estimator) else refusals(str(estimator), "auto", ())
    start, numbered = Tree.of(state), NumberedBatches(_sequence(batches))
    faults += faults_of_contents(start)
    faults += [Fault(name, repr(f), "a function") for name, f in (("step", step), ("outer", outer)) if not callable(f)]
    between = nested(step, start)
    loop = Loop(between, start, numbered, h, outer)
    faults += _faults_of(loop)
    if faults or not isinstance(chosen, Estimator):
        raise ConfigError(faults)
    detached = {name: x.detach() for name, x in h.items()}
    with torch.inference_mode(False), torch.enable_grad():
        found = chosen(replace(loop, state=start.map(_copied), h=detached, outer=nested_outer(outer, h)))
    if absent := sorted(between.looked - between.reached):
        warn(f"differentiate: no graph of a step leads to {', '.join(absent)}, whose derivative is 0, true or not")
    return found


def estimate(
    step: StepFunction,
    state: State,
    batches: Iterable[Any],
    h: Mapping[str, Tensor],
    outer: Outer,
    storage: str = "keep",
    estimator: str = "unroll",
    **options: Any,
) -> tuple[Tensor, Gradients]:
    """As `differentiate`, for a loop over a `State` and an estimator by its name in the settings.

    Args:
        storage: a name of `metaft.inner.registry.STORAGES`.
        options: further keys of the section `hypergrad`, such as `last`.

    Raises:
        ConfigError: an unknown name, a storage the estimator does not offer, a hyperparameter it cannot serve, an
            option that is none or has no such value, or no inner steps.
    """
    loop = Loop(step, state, _sequence(batches), h, outer)
    faults = [*refusals(estimator, storage, h), *_faults_of(loop)]
    if faults:
        raise ConfigError(faults)
    settings = from_mapping({"hypergrad": {"estimator": estimator, "storage": storage, **options}}).hypergrad
    with torch.enable_grad():
        value, gradients = ESTIMATORS[estimator].make(settings)(loop)
    return value, gradients


def _copied(x: Tensor) -> Tensor:
    """A copy that nobody else has, its numbers in their order."""
    return x.detach().clone(memory_format=torch.contiguous_format)


def _sequence(batches: Iterable[Any]) -> Sequence[Any]:
    if not isinstance(batches, Iterable):
        raise ConfigError([Fault("batches", f"a {type(batches).__name__}", "one for each step, in a list, say")])
    return batches if isinstance(batches, Sequence) else list(batches)


def _faults_of(loop: Loop) -> list[Fault]:
    """Faults of a loop without a hypergradient: no steps, state or hyperparameters, or tensors that will not do."""
    faults = [] if loop.batches else [Fault("inner.steps", "0 steps", "at least 1")]
    if not isinstance(loop.h, Mapping):
        return [*faults, Fault("h", f"a {type(loop.h).__name__}", "tensors by name")]
    tensors = loop.state.tensors
    if not tensors:
        faults.append(Fault("state", "no floating-point tensor", "at least one"))
    if isinstance(loop.state, InnerState) and any(x.dtype == torch.float16 for x in tensors):
        faults.append(Fault("state", "float16, in which AdamW's moments are lost", "float32 or float64"))
    odd = [name for name, x in loop.h.items() if not (isinstance(x, torch.Tensor) and x.is_floating_point())]
    faults += [Fault(f"h[{name!r}]", repr(loop.h[name]), "a floating-point tensor") for name in odd]
    if any(x.is_inference() for x in (*tensors, *loop.h.values()) if isinstance(x, torch.Tensor)):
        faults.append(Fault("state, h", "tensors of torch.inference_mode", "those made outside of it, or clones"))
    return faults if loop.h else [*faults, Fault("h", "nothing to differentiate by", "tensors by name")]
