"""Running jobs on an executor; one whose worker died is tried once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from metaft.search.executors.work import Done, Executor, Job

TRIES = 2  # of a job whose worker dies


class Pool:
    """Keeps an executor's workers busy.

    Args:
        executor: where jobs run.
        deaths: is told of a job whose worker died, and says how often that has happened to this job.
    """

    def __init__(self, executor: Executor, deaths: Callable[[Any], int]) -> None:
        self._executor, self._deaths = executor, deaths
        self.busy = 0

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return self._executor.capacity - self.busy

    def submit(self, job: Job) -> None:
        """Begin a job."""
        self._executor.submit(job)
        self.busy += 1

    def next(self) -> Done:
        """Wait for a job to end; without an answer if it was tried often enough."""
        while True:
            done = self._executor.next()
            self.busy -= 1
            if done.answer is not None or self._deaths(done.job) == TRIES:
                return done
            self.submit(done.job)

    def run(self, jobs: Iterable[Job]) -> Iterator[Done]:
        """Run all these jobs, each asked for when a worker is idle; gives each as it ends."""
        waiting = iter(jobs)
        while True:
            for job in islice(waiting, self.idle):
                self.submit(job)
            if not self.busy:
                return
            yield self.next()
