"""Steps of any torch code between nested states, and what is wrong with those that admit no derivative."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from metaft.errors import ConfigError, Fault, first_line
from metaft.inner.attention import second_order_attention
from metaft.inner.loop import HasLoss, Outer, StepFunction
from metaft.inner.state import Tree, is_real

IN_PLACE = "in-place operation"  # torch's words for what is changed though a graph needs it
UNABLE = ("is not differentiable with respect to", "ZeroTensor", "forward AD", "forward mode AD")  # for what it lacks
ALIKE = 16  # times the precision of a sum that two passes through a step may differ by
DEPTH = 3  # to which tensors are looked for in what is no tensor, list or dict
FEW = 1000  # items of a container that are looked at


class Numbered(NamedTuple):
    """The batch of step t, loaded as it is asked for."""

    t: int
    batches: Sequence[Any]

    def loaded(self) -> Any:
        """What the step is given."""
        return self.batches[self.t]


@dataclass(frozen=True)
class NumberedBatches(Sequence[Any]):
    """Batches with their numbers."""

    batches: Sequence[Any]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: Any) -> Numbered:
        return Numbered(range(len(self.batches))[number], self.batches)


class Passes:
    """What the first pass through each step drew and came to, so that further ones draw alike and come to the same.

    Args:
        tensors: on whose devices something may be drawn; on the CPU it always may.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._devices = sorted({x.device for x in tensors if x.device.type == "cuda"}, key=str)
        self._generators: dict[int, list[Tensor]] = {}
        self._ends = {-1: sums(tensors)} if tensors else {}

    @contextmanager
    def of(self, t: int) -> Iterator[None]:
        """A context in which step t draws what it drew the first time, which alone moves torch's generators on."""
        now = self._states()
        first = self._generators.setdefault(t, now)
        again = not all(map(torch.equal, first, now))
        self._set(first)
        try:
            yield
        finally:
            if again:
                self._set(now)

    def same(self, t: int, tensors: Sequence[Tensor]) -> bool:
        """Whether the end of step t is that of the first pass, which this one may be."""
        if t not in self._ends:
            self._ends[t] = sums(tensors)
            return True
        found, first = sums(tensors), self._ends[t]
        if found.shape != first.shape or not bool(first.isfinite().all()):
            return found.shape == first.shape
        eps = max(torch.finfo(x.dtype).eps for x in tensors)
        return bool(((found - first).abs() <= ALIKE * eps * first[1]).all())

    def _states(self) -> list[Tensor]:
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._devices)]

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self._devices, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)


def sums(tensors: Sequence[Tensor]) -> Tensor:
    """The sums of numbers and of their absolute values, of each tensor, [2, n]."""
    return torch.stack([_sums(x.detach()).to(tensors[0].device) for x in tensors], dim=1)


def _sums(x: Tensor) -> Tensor:
    wide = x.to(torch.float32 if x.device.type == "mps" else torch.float64)  # which Apple's GPUs have not
    return torch.stack([wide.sum(), wide.abs().sum()])


@dataclass(frozen=True)
class Nested:
    """A step between nested states, as one between trees, on numbered batches.

    `looked` has the names of the hyperparameters that paths to were looked for in the graph of a step, `reached` those
    to which there was one.
    """

    step: StepFunction
    passes: Passes
    looked: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)

    def __call__(self, state: Tree, batch: Numbered, h: Mapping[str, Any]) -> Tree:
        """The next state.

        Raises:
            ConfigError: it hangs on nothing, is another than before, or what was given is changed.
        """
        given = (*state.tensors, *h.values())
        with second_order_attention(), self.passes.of(batch.t):
            content = batch.loaded()
            with unchanged("step", [*given, *pytree.tree_leaves(content)]):
                end = Tree.of(self.step(state.nested, content, dict(h)))
        self._refuse(end, given, h)
        if any(x is y for x in end.tensors for y in state.tensors) and not self.passes.same(batch.t - 1, state.tensors):
            raise _changed("step")
        if not self.passes.same(batch.t, [forward_ad.unpack_dual(x).primal for x in end.tensors]):
            other = "another state as it is run again, which replays and measurements do"
            raise ConfigError([Fault("step", other, "the same; it may draw from torch's default generators")])
        self._look(end, h)
        return end

    def _refuse(self, end: Tree, given: Sequence[Tensor], h: Mapping[str, Tensor]) -> None:
        """Refuse an end that has no derivative.

        Raises:
            ConfigError: it has none.
        """
        followed = any(map(_is_followed, h.values()))
        if not end.tensors or (followed and not any(_hangs_on(x, given) for x in end.tensors)):
            found = "a state that hangs on neither the one before nor h, as their graph was cut"
            raise ConfigError([Fault("step", found, "a differentiable step, without detach() or torch.optim")])
        if faults := faults_of_contents(end):
            raise ConfigError(faults)

    def _look(self, end: Tree, h: Mapping[str, Any]) -> None:
        """Look for paths to hyperparameters that have not been found before, where graphs are built."""
        left = {name: x for name, x in h.items() if x.requires_grad and x.numel() and name not in self.reached}
        self.looked.update(left)
        self.reached.update(sources_of(end.tensors, left))


@dataclass(frozen=True)
class NestedWithLoss(Nested):
    """The same of a step that shows its loss."""

    def loss_at(self, state: Tree, batch: Numbered, h: Mapping[str, Any]) -> Tensor:
        """The inner loss [] of a state."""
        with self.passes.of(batch.t):
            return cast(HasLoss, self.step).loss(state.nested, batch.loaded(), dict(h))


def nested(step: StepFunction, start: Tree) -> Nested:
    """A step as one between trees like the start; it shows its loss where the step does."""
    return (NestedWithLoss if isinstance(step, HasLoss) else Nested)(step, Passes(start.tensors))


def nested_outer(outer: Outer, h: Mapping[str, Tensor]) -> Outer:
    """An outer loss of nested states, as one of trees.

    Raises:
        ConfigError: when called, on a loss that h itself is used in, besides the state, or that changes the state.
    """

    def value(end: Tree) -> Tensor:
        with unchanged("outer", end.tensors), _followed(h.values()):
            found = outer(end.nested)
            direct = isinstance(found, torch.Tensor) and sources_of([found], h)
        if direct:
            wrong = "a loss that h itself is used in, whose derivative by it would be left out"
            raise ConfigError([Fault("outer", wrong, "a loss of the final state alone; add a term in h to the result")])
        return found

    return value


@contextmanager
def _followed(tensors: Iterable[Tensor]) -> Iterator[None]:
    """A context in which graphs lead back to tensors."""
    plain = [x for x in tensors if not x.requires_grad]
    try:
        for x in plain:
            x.requires_grad_()
        yield
    finally:
        for x in plain:
            x.requires_grad_(False)


@contextmanager
def unchanged(who: str, given: Iterable[Any]) -> Iterator[None]:
    """A context in which a step, or an outer loss, may not change tensors in place.

    Raises:
        ConfigError: it does, or torch lacks a derivative.
    """
    tensors = [x for x in given if isinstance(x, torch.Tensor) and not x.is_inference()]
    versions = [x._version for x in tensors]
    try:
        yield
    except RuntimeError as error:
        if IN_PLACE in str(error):
            raise _changed(who) from error
        if any(words in str(error) for words in UNABLE):
            raise ConfigError([Fault(who, first_line(error), "functions of which torch has the derivative")]) from error
        raise
    if [x._version for x in tensors] != versions:
        raise _changed(who)


def _changed(who: str) -> ConfigError:
    what, makes = {"step": ("step", "one that makes a new state"), "outer": ("loss", "one that leaves it")}[who]
    return ConfigError([Fault(who, f"a {what} that changes in place what it is given", makes)])


def faults_of_contents(state: Tree) -> list[Fault]:
    """Faults of a nested state: contents in which numbers would count as constants, unseen."""
    odd = [x for x in state.others if _hides(x, DEPTH)]
    allowed = "floating-point tensors in tuples, lists and dicts (torch.view_as_real of complex ones)"
    return [Fault("state", f"{_kind(x)}, which would count as a constant", allowed) for x in odd[:1]]


def _hides(x: Any, depth: int) -> bool:
    """Whether something that is taken as it is has numbers that a step may move."""
    if isinstance(x, torch.Tensor):
        return x.is_complex()
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "fc"
    if isinstance(x, torch.nn.Module | torch.optim.Optimizer):
        return True
    return depth > 0 and any(is_real(y) or _hides(y, depth - 1) for y in _within(x))


def _within(x: Any) -> Iterator[Any]:
    """Items of a container, or attributes of an object; nothing of classes and functions."""
    if isinstance(x, Mapping):
        yield from islice(x.values(), FEW)
    elif isinstance(x, list | tuple | set | frozenset):
        yield from islice(x, FEW)
    elif not isinstance(x, type) and not callable(x):
        yield from getattr(x, "__dict__", {}).values()
        yield from (getattr(x, name, None) for name in getattr(type(x), "__slots__", ()))


def _kind(x: Any) -> str:
    if isinstance(x, torch.Tensor | np.ndarray):
        return f"{'a tensor' if isinstance(x, torch.Tensor) else 'an array'} of {str(x.dtype).removeprefix('torch.')}"
    return f"a {type(x).__name__}"


def _is_followed(x: Tensor) -> bool:
    """Whether a derivative by a tensor is asked for, in reverse or forward mode."""
    return x.requires_grad or forward_ad.unpack_dual(x).tangent is not None


def _hangs_on(x: Tensor, given: Sequence[Tensor]) -> bool:
    """Whether a tensor is one of those given, or was computed in a graph."""
    computed = x.grad_fn is not None or forward_ad.unpack_dual(x).tangent is not None
    return computed or any(x is other for other in given)


def sources_of(values: Sequence[Tensor], sources: Mapping[str, Tensor]) -> set[str]:
    """The names of those sources to which the graph of any value leads back."""
    edges = {_edge(x): name for name, x in sources.items()}
    found, seen = set[str](), set[Any]()
    ahead = [_edge(x) for x in values if x.requires_grad]
    while ahead and len(found) < len(set(edges.values())):
        node, number = ahead.pop()
        if (node, number) in edges:
            found.add(edges[node, number])
        if node is not None and node not in seen:
            seen.add(node)
            ahead += node.next_functions
    return found


def _edge(x: Tensor) -> tuple[Any, int]:
    """Where derivatives by a tensor arrive in a graph."""
    edge = torch.autograd.graph.get_gradient_edge(x)
    return edge.node, edge.output_nr
