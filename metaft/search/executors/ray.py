"""Jobs on Ray: an existing cluster (RAY_ADDRESS, or the one of this process), else a local one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any

from metaft.errors import ClusterError, first_line
from metaft.search.executors.registry import Factory, Place
from metaft.search.executors.work import Done, Job, Raised, Worker

PLACED = 600.0  # seconds within which a worker is given a place, a machine that is started for it included
LOOK = 10.0  # seconds from one look at the cluster to the next, while jobs are waited for
SILENCE = 30.0  # seconds without an answer, after which a cluster is gone; Ray itself ends a process after 60


class RayWorkers:
    """Ray actors, one job each; one that dies is replaced, its job returned without an answer.

    A worker asks for a GPU, or a share of one, where the devices are GPUs, else for a CPU, which it needs only to be
    placed. Each plans with its part of a machine's memory, as if all were on one.

    Raises:
        ClusterError: no cluster answers.
    """

    def __init__(
        self, factory: Factory, workers: int, devices: Sequence[str] = ("cpu",), gpu_share: float = 1.0
    ) -> None:
        import ray

        self._ray: Any = ray
        self._started = not self._ray.is_initialized()
        if self._started:
            self._begin()
        self.capacity = workers
        gpu = devices[0].startswith("cuda")
        self._asks = f"{gpu_share:g} GPU" if gpu else "1 CPU"
        self._sharers = workers, min(workers, max(1, int(1 / gpu_share)))
        self._make = self._ray.remote(Worker)
        if gpu:  # an actor that names no resources needs a CPU to be placed and none to run
            self._make = self._make.options(num_gpus=gpu_share)
        self._factory = partial(factory, "cuda" if gpu else "cpu")
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Job, Any]] = {}
        self._unplaced: dict[Any, float] = {}  # what tells that an actor has begun, and since when it is asked for
        self._gone = False

    @classmethod
    def of(cls, made: Any, place: Place) -> RayWorkers:
        """On the devices of a place; what is made here is not used."""
        return cls(place.factory, place.workers, place.devices, place.gpu_share)

    def submit(self, job: Job) -> None:
        """Hand a job to an idle actor, or to a new one."""
        actor = self._idle.pop() if self._idle else self._new()
        self._busy[actor.perform.remote(job)] = (job, actor)

    def next(self) -> Done:
        """The result of whichever job ends first; without an answer if its actor died.

        Raises:
            WorkerError: what jobs need could not be made, or refused the job, in its words.
            ClusterError: the cluster does not answer any more, or has no room for a worker.
            RuntimeError: a bug in a worker, with its trace.
        """
        self._refuse_unplaced()
        while not (ended := self._ended()):
            self._refuse_silence()
            self._refuse_unplaced()
        job, actor = self._busy.pop(ended[0])
        try:
            answer: Done | Raised = self._ray.get(ended[0])
        except self._ray.exceptions.RayError:
            self._refuse_silence()
            return Done(job, None)
        self._idle.append(actor)
        if isinstance(answer, Raised):
            raise answer.error()
        return answer

    def close(self) -> None:
        """Stop every actor, and the local cluster if it was started here; nothing of a cluster that is gone."""
        if self._gone:
            return
        for actor in (*self._idle, *(actor for _, actor in self._busy.values())):
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()

    def _begin(self) -> None:
        """Connect to the cluster, or start one.

        Raises:
            ClusterError: it does not answer.
        """
        try:
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            address = os.environ.get("RAY_ADDRESS")
            found = "not set, and no local cluster can be started" if address is None else f"{address!r}, which is none"
            allowed = "the address of a cluster that runs, or none for one on this machine"
            raise ClusterError(f"RAY_ADDRESS: {found} ({first_line(error)}); allowed: {allowed}") from error

    def _new(self) -> Any:
        """A new actor, which begins once the cluster has given it a place."""
        actor = self._make.remote(self._factory, self._sharers)
        self._unplaced[actor.__ray_ready__.remote()] = time.monotonic()
        return actor

    def _ended(self) -> Sequence[Any]:
        """A job that has ended, if one does before the next look at the cluster."""
        ended: Sequence[Any] = self._ray.wait(list(self._busy), num_returns=1, timeout=LOOK)[0]
        return ended

    def _refuse_silence(self) -> None:
        """Refuse a cluster that is gone.

        Raises:
            ClusterError: it has not answered for so long, or has no machine any more.
        """
        nodes = _answered(self._ray.nodes)
        if not any(node["Alive"] for node in nodes or ()):
            self._gone = True
            found = f"the cluster does not answer within {SILENCE:.0f} s" if nodes is None else "no machine is left"
            raise ClusterError(f"ray: {found}; allowed: a cluster that runs until the end; --resume RUN goes on")

    def _refuse_unplaced(self) -> None:
        """Refuse workers for which the cluster has no room.

        Raises:
            ClusterError: one has waited for too long, or the cluster is gone.
        """
        if not self._unplaced:
            return
        for begun in self._ray.wait(list(self._unplaced), num_returns=len(self._unplaced), timeout=0)[0]:
            del self._unplaced[begun]
        now = time.monotonic()
        late = sum(now - since > PLACED for since in self._unplaced.values())
        if late:
            self._refuse_silence()
            has = _answered(self._ray.cluster_resources) or {}
            there = ", ".join(f"{has.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
            found = f"{late} of {self.capacity} workers were given no place within {PLACED:.0f} s"
            asked = f"each asks for {self._asks}, of {there} in the cluster"
            raise ClusterError(f"ray: {found} ({asked}); allowed: as many as there is room for, a smaller gpu_share")


def _answered(ask: Callable[[], Any]) -> Any:
    """What a cluster answers; None: nothing, for too long."""
    found: list[Any] = []

    def wait() -> None:
        with suppress(Exception):  # whatever Ray makes of a cluster that is gone
            found.append(ask())

    thread = Thread(target=wait, daemon=True)
    thread.start()
    thread.join(SILENCE)
    return found[0] if found else None
