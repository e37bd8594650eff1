"""Steps of any torch code between nested states, and what is wrong with those that admit no derivative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from metaft.errors import ConfigError, Fault
from metaft.inner.attention import second_order_attention
from metaft.inner.loop import HasLoss, Outer, StepFunction
from metaft.inner.state import Tree

IN_PLACE = "in-place operation"  # torch's words for what is changed though a graph needs it


class Draws:
    """The states of torch's default generators as each step found them, so that a step that is run again draws alike.

    Args:
        tensors: on whose devices something may be drawn; on the CPU it always may.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._devices = sorted({x.device for x in tensors if x.device.type == "cuda"}, key=str)
        self._found: dict[int, list[Tensor]] = {}

    @contextmanager
    def of(self, t: int) -> Iterator[None]:
        """A context in which step t draws what it drew the first time, which alone moves the generators on."""
        now = self._states()
        again = t in self._found
        self._set(self._found.setdefault(t, now))
        try:
            yield
        finally:
            if again:
                self._set(now)

    def _states(self) -> list[Tensor]:
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._devices)]

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self._devices, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)


class Numbered(NamedTuple):
    """The batch of step t."""

    t: int
    batch: Any


@dataclass(frozen=True)
class NumberedBatches(Sequence[Any]):
    """Batches with their numbers, each loaded as it is asked for."""

    batches: Sequence[Any]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: Any) -> Numbered:
        t = range(len(self.batches))[number]
        return Numbered(t, self.batches[t])


@dataclass(frozen=True)
class Nested:
    """A step between nested states, as one between trees, on numbered batches."""

    step: StepFunction
    draws: Draws

    def __call__(self, state: Tree, batch: Numbered, h: Mapping[str, Any]) -> Tree:
        """The next state.

        Raises:
            ConfigError: it hangs on nothing, or what was given is changed.
        """
        given = (*state.tensors, *h.values())
        versions = [x._version for x in given]
        with second_order_attention(), self.draws.of(batch.t):
            try:
                end = Tree.of(self.step(state.nested, batch.batch, h))
            except RuntimeError as error:
                if IN_PLACE in str(error):
                    raise _changed() from error
                raise
        if [x._version for x in given] != versions:
            raise _changed()
        followed = any(map(_is_followed, h.values()))
        if not end.tensors or (followed and not any(_hangs_on(x, given) for x in end.tensors)):
            found = "a state that hangs on neither the one before nor h, as their graph was cut"
            raise ConfigError([Fault("step", found, "a differentiable step, without detach() or torch.optim")])
        return end


@dataclass(frozen=True)
class NestedWithLoss(Nested):
    """The same of a step that shows its loss."""

    like: Tree

    def loss(self, params: Sequence[Tensor], batch: Numbered, h: Mapping[str, Any]) -> Tensor:
        """The inner loss []."""
        step = cast(HasLoss, self.step)
        with self.draws.of(batch.t):
            return step.loss(self.like.replaced(params).nested, batch.batch, h)


def nested(step: StepFunction, start: Tree) -> Nested:
    """A step as one between trees like the start; it shows its loss where the step does."""
    draws = Draws(start.tensors)
    return NestedWithLoss(step, draws, start) if isinstance(step, HasLoss) else Nested(step, draws)


def nested_outer(outer: Outer, h: Mapping[str, Tensor]) -> Outer:
    """An outer loss of nested states, as one of trees.

    Raises:
        ConfigError: when called, on a loss that h itself is used in, besides the state.
    """
    followed = [x for x in h.values() if isinstance(x, torch.Tensor) and x.requires_grad]

    def value(end: Tree) -> Tensor:
        found = outer(end.nested)
        if followed and isinstance(found, torch.Tensor) and _grows_from(found, followed):
            wrong = "a loss that h itself is used in, whose derivative by it would be left out"
            raise ConfigError([Fault("outer", wrong, "a loss of the final state alone; add a term in h to the result")])
        return found

    return value


def faults_of_contents(state: Tree) -> list[Fault]:
    """Faults of a nested state: contents in which numbers would count as constants, unseen."""
    odd = [x for x in state.others if _hides(x)]
    allowed = "floating-point tensors in tuples, lists and dicts (torch.view_as_real of complex ones)"
    return [Fault("state", f"{_kind(x)}, which would count as a constant", allowed) for x in odd[:1]]


def _hides(x: Any) -> bool:
    """Whether something that is taken as it is holds tensors that a step may move."""
    if isinstance(x, torch.Tensor):
        return x.is_complex()
    if isinstance(x, torch.nn.Module | torch.optim.Optimizer):
        return True
    return is_dataclass(x) and any(isinstance(getattr(x, f.name, None), torch.Tensor) for f in fields(x))


def _kind(x: Any) -> str:
    return (
        f"a tensor of {str(x.dtype).removeprefix('torch.')}" if isinstance(x, torch.Tensor) else f"a {type(x).__name__}"
    )


def _changed() -> ConfigError:
    return ConfigError([Fault("step", "a step that changes in place what it is given", "one that makes a new state")])


def _is_followed(x: Tensor) -> bool:
    """Whether a derivative by a tensor is asked for, in reverse or forward mode."""
    return x.requires_grad or forward_ad.unpack_dual(x).tangent is not None


def _hangs_on(x: Tensor, given: Sequence[Tensor]) -> bool:
    """Whether a tensor is one of those given, or was computed in a graph."""
    computed = x.grad_fn is not None or forward_ad.unpack_dual(x).tangent is not None
    return computed or any(x is other for other in given)


def _grows_from(value: Tensor, sources: Sequence[Tensor]) -> bool:
    """Whether the graph of a value leads back to one of some tensors that require gradients."""
    ends = {torch.autograd.graph.get_gradient_edge(x).node for x in sources}
    seen, ahead = set[Any](), [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node in ends:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
    return False
