"""Executors by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from metaft.lazy import Lazy

Factory = Callable[[str], Any]  # picklable; from the name of a device to what jobs need there


@dataclass(frozen=True)
class Place:
    """Where jobs may run.

    Args:
        factory: of what they need in other processes.
        devices: those that workers take in turn.
        gpu_share: of a GPU that a worker on Ray asks for.
    """

    factory: Factory
    workers: int = 1
    devices: Sequence[str] = ("cpu",)
    gpu_share: float = 1.0


@dataclass(frozen=True)
class ExecutorKind:
    """A registered executor: `make` gives it (see `metaft.search.executors.work`) from what jobs need and a place.

    `package` is one that it needs beside metaft's own.
    """

    description: str
    make: Callable[[Any, Place], Any]
    package: str | None = None

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return self.package is None or find_spec(self.package) is not None


SERIAL = "serial"  # the executor without workers
EXECUTORS: dict[str, ExecutorKind] = {
    SERIAL: ExecutorKind("one job after the other, in this process", Lazy("metaft.search.executors.serial:Serial.of")),
    "processes": ExecutorKind(
        "processes on this machine, a device each", Lazy("metaft.search.executors.processes:Processes.of")
    ),
    "ray": ExecutorKind(
        "actors on the Ray cluster at RAY_ADDRESS, or on a local one",
        Lazy("metaft.search.executors.ray:RayWorkers.of"),
        "ray",
    ),
}
