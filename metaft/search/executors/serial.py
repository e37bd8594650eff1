"""One trial after the other, in this process."""

from __future__ import annotations

from metaft.search.bilevel import BilevelProblem
from metaft.search.executors.registry import Place
from metaft.search.executors.work import Done, Job, perform


class Serial:
    """Evaluates a job when its result is asked for."""

    capacity = 1

    def __init__(self, problem: BilevelProblem) -> None:
        self._problem = problem
        self._job: Job | None = None

    @classmethod
    def of(cls, problem: BilevelProblem, place: Place) -> Serial:
        """On the search's own problem; the place is not used."""
        return cls(problem)

    def submit(self, job: Job) -> None:
        """Keep a job until its result is asked for."""
        self._job = job

    def next(self) -> Done:
        """Perform the job that was submitted last."""
        assert self._job is not None
        return perform(self._problem, self._job)

    def close(self) -> None:
        """Do nothing: there are no workers."""
