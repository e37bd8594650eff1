"""Jobs on Ray: an existing cluster (RAY_ADDRESS, or the one of this process), else a local one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from metaft.search.executors.registry import Factory, Place
from metaft.search.executors.work import Done, Job, Raised, Worker


class RayWorkers:
    """Ray actors, one job each; one that dies is replaced, its job returned without an answer.

    A worker asks for a GPU, or a share of one, where the devices are GPUs, else for a CPU, which it needs only to be
    placed.
    """

    def __init__(
        self, factory: Factory, workers: int, devices: Sequence[str] = ("cpu",), gpu_share: float = 1.0
    ) -> None:
        import ray

        self._ray: Any = ray
        self._started = not self._ray.is_initialized()
        if self._started:
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        self.capacity = workers
        gpu = devices[0].startswith("cuda")
        self._make = self._ray.remote(Worker)
        if gpu:  # an actor that names no resources needs a CPU to be placed and none to run
            self._make = self._make.options(num_gpus=gpu_share)
        self._factory = partial(factory, "cuda" if gpu else "cpu")
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Job, Any]] = {}

    @classmethod
    def of(cls, made: Any, place: Place) -> RayWorkers:
        """On the devices of a place; what is made here is not used."""
        return cls(place.factory, place.workers, place.devices, place.gpu_share)

    def submit(self, job: Job) -> None:
        """Hand a job to an idle actor, or to a new one."""
        actor = self._idle.pop() if self._idle else self._make.remote(self._factory)
        self._busy[actor.perform.remote(job)] = (job, actor)

    def next(self) -> Done:
        """The result of whichever job ends first; without an answer if its actor died.

        Raises:
            WorkerError: what jobs need could not be made, or refused the job, in its words.
            RuntimeError: a bug in a worker, with its trace.
        """
        (ended, *_), _ = self._ray.wait(list(self._busy), num_returns=1)
        job, actor = self._busy.pop(ended)
        try:
            answer: Done | Raised = self._ray.get(ended)
        except self._ray.exceptions.RayError:
            return Done(job, None)
        self._idle.append(actor)
        if isinstance(answer, Raised):
            raise answer.error()
        return answer

    def close(self) -> None:
        """Stop every actor, and the local cluster if it was started here."""
        for actor in (*self._idle, *(actor for _, actor in self._busy.values())):
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()
