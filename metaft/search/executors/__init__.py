"""Where trials run: here, in processes on this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metaft.search.bilevel import BilevelProblem, ProblemFactory
from metaft.search.executors.processes import Processes
from metaft.search.executors.ray import RayWorkers
from metaft.search.executors.serial import Serial
from metaft.search.executors.work import Done, Executor, Job

__all__ = ["EXECUTORS", "Done", "Executor", "Job", "MakeExecutor", "Place", "Processes", "RayWorkers", "Serial"]

MakeExecutor = Callable[[BilevelProblem], Executor]


@dataclass(frozen=True)
class Place:
    """Where a search may run: what makes its problem elsewhere, how many workers, and their devices in turn."""

    factory: ProblemFactory
    workers: int = 1
    devices: Sequence[str] = ("cpu",)


@dataclass(frozen=True)
class _Kind:
    description: str
    make: Callable[[BilevelProblem, Place], Executor]


EXECUTORS: dict[str, _Kind] = {
    "serial": _Kind("one trial after the other, in this process", lambda problem, place: Serial(problem)),
    "processes": _Kind(
        "processes on this machine, a device each",
        lambda problem, place: Processes(place.factory, place.workers, place.devices),
    ),
    "ray": _Kind(
        "actors on the Ray cluster at RAY_ADDRESS, or on a local one",
        lambda problem, place: RayWorkers(place.factory, place.workers, place.devices),
    ),
}
