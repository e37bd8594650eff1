"""Jobs and what comes of them, the interface of executors, and how a worker performs a job."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from metaft.errors import DataError, MetaftError, OutOfMemoryError, fault_of_system, first_line, out_of_memory
from metaft.inner.storage import shared_by


class Job(Protocol):
    """Something to do with what a worker has made once for all its jobs, such as a search problem."""

    def perform(self, made: Any, /) -> Any:
        """What comes of it, which is not None."""
        ...


@dataclass(frozen=True)
class Done:
    """A job that ended, with what came of it; None: its worker died."""

    job: Any
    answer: Any


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
            MetaftError: what jobs need could not be made, or refused the job.
        """
        ...

    def close(self) -> None:
        """Stop the workers, even those with a job."""
        ...


MakeExecutor = Callable[[Any], Executor]  # from what jobs need in this process


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
    """Makes what jobs need at the first of them; errors are returned, not raised.

    Args:
        sharers: how many workers, this one among them, plan with its machine's memory, and with its GPU's.
    """

    def __init__(self, make: Callable[[], Any], sharers: tuple[int, int] = (1, 1)) -> None:
        self._make, self._sharers = make, sharers
        self._made: Any = None

    def perform(self, job: Job) -> Done | Raised:
        """Do a job; an error is returned as `Raised`."""
        with shared_by(*self._sharers):
            return self._performed(job)

    def _performed(self, job: Job) -> Done | Raised:
        try:
            if self._made is None:
                self._made = self._make()
            return Done(job, job.perform(self._made))
        except MetaftError as error:
            return Raised(str(error), error.exit_code)
        except OSError as error:
            return Raised(fault_of_system(error), DataError.exit_code)
        except Exception as error:
            if out_of_memory(error):
                return Raised(f"{first_line(error)}; allowed: what fits in memory", OutOfMemoryError.exit_code)
            return Raised(traceback.format_exc(), None)
