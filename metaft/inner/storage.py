"""What an unrolled inner loop keeps for its reverse sweep: graphs, states, or only the states at some steps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from metaft import ranks
from metaft.config.schema import StorageConfig
from metaft.errors import ConfigError, Fault
from metaft.inner.loop import Footprint, HalvedStep, Loop
from metaft.inner.registry import STORAGES
from metaft.inner.sweep import Link, Turn
from metaft.tensors import noting_kept

SHARE = 0.8  # the share of the free memory that `auto` takes where no budget is given
GIB = 2**30
UNHOOKED = "support saved tensor hooks"  # torch.func, within whose derivatives nothing can be noted
PASSING = 0.5  # times the parameters that come and go with a piece of AdamW's update
_sharers = (1, 1)  # processes that plan with this machine's main memory, and with this one's GPU


@dataclass(frozen=True)
class Plan:
    """The last `graphs` steps keep their graphs; of the others, states are kept for `span` steps at a time.

    With a span shorter than the loop, only the states between spans outlive the forward sweep; each span is run
    again before it is reversed. `host` keeps states in host memory.
    """

    graphs: int
    span: int
    host: bool = False

    def cost(self, steps: int) -> float:
        """Step equivalents: 3 where a graph is kept, 4 where it is built again, 5 where its span is run again too."""
        return 3 * self.graphs + 4 * (steps - self.graphs) + self.repeated(steps)

    def repeated(self, steps: int) -> int:
        """The number of steps that are taken again before they are reversed."""
        return steps - (steps - 1) % self.span - 1 if self.span < steps else 0

    def peak(self, footprint: Footprint, steps: int) -> float:
        """The most that is needed at once, in bytes beside the model, theta_0 and the first batch.

        States wait from the forward to the reverse sweep, beside the one at hand and then two adjoints, of which there
        is one at its beginning. In halves, one and gradients on either side are there as the model is gone through, and
        the one state in two that does not wait is made as its turn comes.
        """
        waiting, within = (0 if self.host else self._waiting(footprint, steps, made) for made in (False, True))
        at_the_end = waiting + 2 * footprint.state + self.graphs * footprint.graph + footprint.outer
        graphs = max(self.graphs, 1) * footprint.graph
        optimizer = 3 * footprint.state + PASSING * footprint.params
        model = (2 * footprint.state + footprint.params if footprint.seen else optimizer) + footprint.part
        return max(at_the_end, within + max(optimizer, model) + graphs)

    def _waiting(self, footprint: Footprint, steps: int, made: bool) -> float:
        """Bytes of what waits as the last span is reversed, or the one before, which may be longer.

        Args:
            made: whether the state that is made again is among it.
        """
        before = math.ceil(steps / self.span) - 1
        last = before * footprint.state + self._of_span(footprint, steps - before * self.span, made)
        return max(last, (before - 1) * footprint.state + self._of_span(footprint, self.span, made)) if before else last

    def _of_span(self, footprint: Footprint, steps: int, made: bool) -> float:
        """Bytes of the states of a span's steps, and of what waits with them."""
        if not footprint.seen:
            return steps * footprint.state
        graphs = min(self.graphs, steps)
        others = steps - graphs
        states = max(graphs + math.ceil(others / 2), others // 2 + 1 if made else 0)
        return states * footprint.state + steps * footprint.seen


def planned(loop: Loop, storage: StorageConfig, *, graphs: bool = True) -> Plan:
    """The plan of a configured storage for a loop; `graphs` as for `footprint_of`.

    Raises:
        ConfigError: the storage has no such name.
    """
    if not isinstance(storage, StorageConfig) or storage.storage not in STORAGES:
        raise ConfigError([Fault("storage", repr(storage), f"a StorageConfig with {', '.join(STORAGES)}")])
    memory, device = None if storage.memory is None else storage.memory * GIB, loop.state.tensors[0].device
    if memory is None and storage.storage == "auto":
        memory = free_memory(device)
    steps, measured = len(loop.batches), partial(footprint_of, loop, graphs=graphs)
    return plan_for(storage.storage, steps, measured, memory, storage.offload and device.type == "cuda")


def footprint_of(loop: Loop, *, graphs: bool = True) -> Footprint:
    """The bytes of a loop's parts, known already or measured now; of ranks, the most that any has of each.

    Args:
        graphs: whether graphs of whole steps are differentiated; else those of their second halves are, the model's
            comes and goes with each pass, and gradients wait with the states.
    """
    if loop.footprint is not None:
        return loop.footprint
    device = loop.state.tensors[0].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # what is measured draws for nobody
        found = _measured(loop, graphs)
    return largest(ranks.gathered(found))


def largest(found: Sequence[Footprint]) -> Footprint:
    """The most bytes of each kind; ranks whose rows are not equally many plan alike by these."""
    return Footprint(*map(max, zip(*map(astuple, found), strict=True)))


def _measured(loop: Loop, graphs: bool) -> Footprint:
    """The bytes of a loop's parts on this rank."""
    state = loop.state.map(Tensor.detach)

    def inner_graph() -> tuple[object, object]:
        link: Link | Turn
        if graphs:
            link = Link(loop.step, state, loop.batches[0], loop.h)
        else:
            link = Turn(cast(HalvedStep, loop.step), state, state.params, loop.batches[0], loop.h)
        return link, link.end.map(Tensor.detach)

    def outputs_graph() -> tuple[object, object]:
        return cast(HalvedStep, loop.step).parts(loop.batches[0])[0].outputs(state.leaves().params), None

    parted = isinstance(loop.step, HalvedStep) and len(loop.step.parts(loop.batches[0])) > 1
    return Footprint(
        _bytes(state.tensors),
        graph_bytes(inner_graph),
        graph_bytes(lambda: (loop.outer(state.leaves()), None))
        + graph_bytes(lambda: (loop.outer_part(state.leaves()), None)),
        graph_bytes(outputs_graph) if parted or not graphs else 0,
        0 if graphs else _bytes(state.params),
        _bytes(state.params),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def plan_for(storage: str, steps: int, footprint: Callable[[], Footprint], budget: float | None, host: bool) -> Plan:
    """The plan of a named storage for `steps` steps.

    `keep` has all graphs, `replay` none, `segments` has spans of sqrt(T) steps (Chen et al., Training deep nets with
    sublinear memory cost, 2016, section 4). `auto` has as many graphs as the budget in bytes holds, and takes
    `segments` where that does not hold even the states; it keeps all where graphs cannot be measured (torch.func).
    """
    span = math.isqrt(steps - 1) + 1  # ceil(sqrt(steps))
    if storage == "keep":
        return Plan(steps, steps, host)
    if storage == "replay":
        return Plan(0, steps, host)
    if storage == "segments":
        return Plan(0, span, host)
    limit = math.inf if budget is None else budget
    try:
        measured = footprint()
    except RuntimeError as error:
        if UNHOOKED not in str(error):
            raise
        return Plan(steps, steps, host)
    plans = (Plan(graphs, steps, host) for graphs in range(steps, -1, -1))
    return next((plan for plan in plans if plan.peak(measured, steps) <= limit), Plan(0, span, host))


def graph_bytes(build: Callable[[], tuple[object, object]]) -> int:
    """The bytes that a graph alone keeps alive; `build` gives it with the tensors that are not to be counted."""
    sizes: dict[StorageWeakRef, int] = {}

    def note(tensor: Tensor) -> None:
        if tensor.layout is not torch.strided:  # whose numbers are in tensors of its own
            return
        storage = tensor.untyped_storage()
        sizes[StorageWeakRef(storage)] = storage.nbytes()

    with noting_kept(note):
        graph, others = build()
    del graph
    size = sum(size for storage, size in sizes.items() if storage.expired())
    del others
    return size


@contextmanager
def shared_by(on_machine: int, on_gpu: int) -> Iterator[None]:
    """A context in which this process is one of so many that plan with the same memory at once, as workers do."""
    global _sharers
    before, _sharers = _sharers, (on_machine, on_gpu)
    try:
        yield
    finally:
        _sharers = before


def free_memory(device: torch.device) -> float:
    """The bytes that `auto` may take where no budget is given: a share of what is free on the device.

    Ranks take the same: what the least of them has, and main memory in equal parts. So do workers (see `shared_by`).
    """
    on_machine, on_gpu = _sharers
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return SHARE * min(ranks.gathered(torch.cuda.mem_get_info(device)[0] + cached)) / on_gpu
    return SHARE * min(ranks.gathered(min(_available(), _allowed()))) / ranks.count() / on_machine


def _available() -> float:
    """The bytes of main memory available without swapping; infinite where the system does not say."""
    line = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(Path("/proc/meminfo")), re.M)
    return int(line[1]) * 1024 if line else math.inf


def _allowed() -> float:
    """The bytes that the process's control group may still take (a container's limit); infinite without one."""
    limit, used = (_text(Path("/sys/fs/cgroup") / f"memory.{name}").strip() for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else math.inf


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
