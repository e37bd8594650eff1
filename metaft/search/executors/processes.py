"""Jobs in processes on this machine, each with a device of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

import torch

from metaft.search.executors.registry import Factory, Place
from metaft.search.executors.work import Done, Job, Raised, Worker


class Processes:
    """Worker processes, started when first needed; one that dies is replaced, its job returned without an answer.

    Each has as many threads as this process, or its part of the machine's cores.

    Args:
        factory: makes what jobs need in a worker, from its device.
        workers: how many.
        devices: those that workers take in turn.
    """

    def __init__(self, factory: Factory, workers: int, devices: Sequence[str] = ("cpu",)) -> None:
        self.capacity = workers
        self._factory, self._devices = factory, devices
        self._threads = max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // workers))
        self._sharers = workers, -(-workers // len(devices))
        self._processes: dict[int, _Process] = {}

    @classmethod
    def of(cls, made: Any, place: Place) -> Processes:
        """On the devices of a place; what is made here is not used."""
        return cls(place.factory, place.workers, place.devices)

    def submit(self, job: Job) -> None:
        """Hand a job to an idle worker, or to a new one."""
        processes = self._processes
        slot = next(i for i in range(self.capacity) if i not in processes or processes[i].job is None)
        if slot not in processes:
            device = self._devices[slot % len(self._devices)]
            processes[slot] = _Process(self._factory, device, self._threads, self._sharers)
        processes[slot].begin(job)

    def next(self) -> Done:
        """The result of whichever job ends first; without an answer if its worker died.

        Raises:
            WorkerError: what jobs need could not be made, or refused the job, in its words.
            RuntimeError: a bug in a worker, with its trace.
        """
        busy = {p.connection: i for i, p in self._processes.items() if p.job is not None}
        slot = busy[wait(list(busy))[0]]  # type: ignore[index]
        done = self._processes[slot].end()
        if done.answer is None:
            del self._processes[slot]
        return done

    def close(self) -> None:
        """Stop every worker."""
        for process in self._processes.values():
            process.stop()


class _Process:
    """One worker process, seen from here."""

    def __init__(self, factory: Factory, device: str, threads: int, sharers: tuple[int, int]) -> None:
        context = get_context("spawn")
        self.connection, remote = context.Pipe()
        self.job: Job | None = None
        self._process = context.Process(target=_serve, args=(remote, factory, device, threads, sharers), daemon=True)
        self._process.start()
        remote.close()  # so that the death of the process ends the connection

    def begin(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # the worker died while idle, which `end` finds out
            self.connection.send(job)

    def end(self) -> Done:
        job, self.job = self.job, None
        assert job is not None
        try:
            answer: Done | Raised = self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            return Done(job, None)
        if isinstance(answer, Raised):
            raise answer.error()
        return answer

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, factory: Factory, device: str, threads: int, sharers: tuple[int, int]) -> None:
    """Perform jobs until the connection is closed, or the process at its other end has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end decides when to stop
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    worker = Worker(partial(factory, device), sharers)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        with suppress(BrokenPipeError):  # nobody waits any more, and this worker ends as it asks for more
            connection.send(worker.perform(job))


def _end_with_parent() -> None:
    """End this process as the one that has started it does, lest it go on to write what nobody waits for."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
