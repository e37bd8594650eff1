"""Running jobs on an executor; one whose worker died is recorded and tried once more."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

from metaft.progress import warn
from metaft.search.executors.work import Done, Executor, Job
from metaft.search.journal import Journal, Lost
from metaft.search.outcome import Outcome

TRIES = 2  # of a job whose worker dies


class Dispatch:
    """Keeps an executor's workers busy.

    Args:
        executor: where jobs run.
        journal: where deaths of workers are recorded, so that a job is not tried more often by resuming.
    """

    def __init__(self, executor: Executor, journal: Journal) -> None:
        self._executor, self._journal = executor, journal
        self.busy = 0

    @property
    def room(self) -> bool:
        """Whether a worker is idle."""
        return self.busy < self._executor.capacity

    def submit(self, job: Job) -> None:
        """Begin a job."""
        self._executor.submit(job)
        self.busy += 1

    def next(self) -> tuple[Job, Outcome, tuple[tuple[int, float], ...]]:
        """Wait for a job to end; gives it with its outcome and its reports (inner step, outer loss)."""
        while True:
            done = self._executor.next()
            self.busy -= 1
            if done.outcome is not None:
                return done.job, done.outcome, done.reports
            if self._deaths(done) == TRIES:
                reason = f"its worker died {TRIES} times"
                return done.job, Outcome(math.inf, 0.0, math.inf, 0, 0.0, 0.0, "lost", reason), ()
            self.submit(done.job)

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Run all these jobs; gives each with its outcome, in the order in which they end."""
        waiting = deque(jobs)
        while waiting or self.busy:
            while waiting and self.room:
                self.submit(waiting.popleft())
            job, outcome, _ = self.next()
            yield job, outcome

    def _deaths(self, done: Done) -> int:
        """Record the death of a job's worker; gives how often that has happened to this job."""
        lost = Lost(done.job.kind, done.job.number, done.job.seed)
        self._journal.lose(lost)
        warn(f"search: the worker of {lost.kind} {lost.number} died")
        return self._journal.lost.count(lost)
