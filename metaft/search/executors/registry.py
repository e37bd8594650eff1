"""Executors by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaft.lazy import Lazy

if TYPE_CHECKING:
    from metaft.search.bilevel import ProblemFactory


@dataclass(frozen=True)
class Place:
    """Where trials may run: the factory of the problem in other processes, the workers, and their devices in turn."""

    factory: ProblemFactory
    workers: int = 1
    devices: Sequence[str] = ("cpu",)


@dataclass(frozen=True)
class ExecutorKind:
    """A registered executor: `make` gives it (see `metaft.search.executors.work`) from the problem and a `Place`."""

    description: str
    make: Callable[[Any, Place], Any]


EXECUTORS: dict[str, ExecutorKind] = {
    "serial": ExecutorKind(
        "one trial after the other, in this process", Lazy("metaft.search.executors.serial:Serial.of")
    ),
    "processes": ExecutorKind(
        "processes on this machine, a device each", Lazy("metaft.search.executors.processes:Processes.of")
    ),
    "ray": ExecutorKind(
        "actors on the Ray cluster at RAY_ADDRESS, or on a local one", Lazy("metaft.search.executors.ray:RayWorkers.of")
    ),
}
