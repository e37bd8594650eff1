"""One job after the other, in this process."""

from __future__ import annotations

from typing import Any

from metaft.search.executors.registry import Place
from metaft.search.executors.work import Done, Job


class Serial:
    """Does a job when its result is asked for."""

    capacity = 1

    def __init__(self, made: Any) -> None:
        self._made = made
        self._job: Job | None = None

    @classmethod
    def of(cls, made: Any, place: Place) -> Serial:
        """With what is made here; the place is not used."""
        return cls(made)

    def submit(self, job: Job) -> None:
        """Keep a job until its result is asked for."""
        self._job = job

    def next(self) -> Done:
        """Perform the job that was submitted last."""
        assert self._job is not None
        return Done(self._job, self._job.perform(self._made))

    def close(self) -> None:
        """Do nothing: there are no workers."""
