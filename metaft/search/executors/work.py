"""Jobs and their results, the interface of executors, and how a worker performs a job."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from metaft.errors import DataError, MetaftError, fault_of_system, out_of_memory, undetermined
from metaft.search.bilevel import BilevelProblem, Maturing
from metaft.search.outcome import Outcome, Status
from metaft.search.stopping import MedianRule

FAULTS = (ArithmeticError, RuntimeError, MemoryError)  # of arithmetic, of torch, of want of memory


@dataclass(frozen=True)
class Job:
    """An evaluation to do: a trial, or a finalist's on a fresh seed.

    `medians` are the outer losses by inner step above which the trial is stopped; None: it runs to its end. `share` is
    that of the final fine-tune's steps, of a finalist that is judged by what they make of it; None: the inner loop's.
    """

    kind: Literal["trial", "final"]
    number: int
    params: Mapping[str, Any]
    seed: int
    medians: Mapping[int, float] | None = None
    share: float | None = None


@dataclass(frozen=True)
class Done:
    """A job that ended, with its reports (inner step, outer loss); without an outcome if its worker died."""

    job: Job
    outcome: Outcome | None
    reports: tuple[tuple[int, float], ...] = ()


class Executor(Protocol):
    """A number of workers that each run one job at a time."""

    @property
    def capacity(self) -> int:
        """How many jobs run at once."""
        ...

    def submit(self, job: Job) -> None:
        """Begin a job; at most `capacity` may be under way."""
        ...

    def next(self) -> Done:
        """Wait for any job to end.

        Raises:
            MetaftError: the problem could not be made or refused the job.
        """
        ...

    def close(self) -> None:
        """Stop the workers, even those with a job."""
        ...


MakeExecutor = Callable[[BilevelProblem], Executor]


class WorkerError(MetaftError):
    """An error in a worker, with the worker's message and exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Raised:
    """An error in the form in which a worker sends it; `exit_code` is None for a bug."""

    text: str
    exit_code: int | None

    def error(self) -> Exception:
        """The error to raise."""
        if self.exit_code is None:
            return RuntimeError(f"in a worker:\n{self.text}")
        return WorkerError(self.text, self.exit_code)


class Worker:
    """Makes the problem at its first job, and evaluates; errors are returned, not raised."""

    def __init__(self, make: Callable[[], BilevelProblem]) -> None:
        self._make = make
        self._problem: BilevelProblem | None = None

    def perform(self, job: Job) -> Done | Raised:
        """Evaluate a job; an error is returned as `Raised`."""
        try:
            if self._problem is None:
                self._problem = self._make()
            return perform(self._problem, job)
        except MetaftError as error:
            return Raised(str(error), error.exit_code)
        except OSError as error:
            return Raised(fault_of_system(error), DataError.exit_code)
        except Exception:
            return Raised(traceback.format_exc(), None)


def failure(error: Exception, seconds: float) -> Outcome:
    """The outcome of a run that an error ended after so many seconds.

    Raises:
        ConfigError: it is the settings' that an operation may not be run.
    """
    if fault := undetermined(error):
        raise fault from error
    status: Status = "oom" if out_of_memory(error) else "failed"
    return Outcome(math.inf, 0.0, math.inf, 0, 0.0, seconds, status, f"{type(error).__name__}: {error}")


def perform(problem: BilevelProblem, job: Job) -> Done:
    """Evaluate a job; one of `FAULTS` makes a failed trial, any other error is raised."""
    rule = None if job.medians is None else MedianRule(job.medians)
    begin = time.perf_counter()
    try:
        outcome = _outcome(problem, job, rule)
    except FAULTS as error:
        outcome = failure(error, time.perf_counter() - begin)
    return Done(job, outcome, () if rule is None else tuple(rule.reports))


def _outcome(problem: BilevelProblem, job: Job, rule: MedianRule | None) -> Outcome:
    if job.share is None:
        return problem.evaluate(job.params, job.seed, rule)
    assert isinstance(problem, Maturing), "jobs with a share are made for problems that can mature"
    return problem.become(job.params, job.seed, job.share)
