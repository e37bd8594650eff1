"""Reading ahead: processes decode the pictures of coming batches while a model computes on those before.

What is read hangs on the batch alone, so that the number of processes changes no bit.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import current_process
from threading import current_thread, main_thread
from typing import Generic, NamedTuple, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from metaft import ranks
from metaft.errors import DataError, first_line
from metaft.progress import be_mute, heard, warn, warn_once

T = TypeVar("T")
MOST = 8  # processes where the settings leave their number open
COMING = 2  # batches that each process has ready
FAILURES = (RuntimeError, OSError, EOFError)  # of a loader with a process that was killed, or without shared memory


def processes(asked: int | None) -> int:
    """How many processes decode ahead: as many as are asked for, or one for each processor that a rank has."""
    if current_process().daemon:  # a worker of a search or a comparison, which may not start any
        return 0
    return min(MOST, max(1, (os.cpu_count() or 1) // ranks.count())) if asked is None else asked


def ahead(read: Callable[[int], T], numbers: range, count: int, device: torch.device | str = "cpu") -> Iterator[T]:
    """What `read` gives of each number, in order; up to `count` processes are ahead of who asks, none with 0.

    They end with the iterator, and with this process, however that ends. A process that dies is done without.

    Args:
        read: picklable where processes are not forked; of tensors, which lie in pinned memory for a GPU.

    Raises:
        DataError: `read` raises it of the number that comes next.
    """
    count, given = min(count, len(numbers)), 0
    if count > 0 and len(numbers) > 1:
        with _deaths_found_by_who_asks(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This DataLoader will create")  # more than there are processors
            loader = DataLoader(
                _Reads(read),
                batch_size=None,
                sampler=numbers,
                num_workers=count,
                prefetch_factor=COMING,
                collate_fn=_as_it_is,
                pin_memory=torch.device(device).type == "cuda",
                worker_init_fn=_begin,
                generator=torch.Generator(),  # lest a number is drawn from the generator of all
            )
            coming = iter(loader)
        try:
            while given < len(numbers):
                found = next(coming)
                for text in found.warned:
                    warn_once(text)
                if isinstance(found, _Refused):
                    raise DataError(found.reason)
                given += 1
                yield found.value
        except FAILURES as error:
            warn(f"pictures are no longer decoded ahead, since that failed: {first_line(error)}")
        finally:
            del coming  # which ends the processes
    yield from map(read, numbers[given:])


@contextmanager
def _deaths_found_by_who_asks() -> Iterator[None]:
    """A context in which torch's loader sets up no handler of a child's death.

    That raises an error wherever this process is by then, in the middle of a step or of a file. Without it the death
    is found when the next number is asked for.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if before is not None and current_thread() is main_thread():
        signal.signal(signal.SIGCHLD, before)


class _Found(NamedTuple, Generic[T]):
    """What was read of a number, and what was warned of; torch pins the memory of tensors in tuples."""

    value: T
    warned: list[str]


class _Refused(NamedTuple):
    """Why a number could not be read; torch would add the trace of the other process to an exception's words."""

    reason: str
    warned: list[str]


@dataclass(frozen=True)
class _Reads(Dataset[_Found[T] | _Refused], Generic[T]):
    """What is read of each number."""

    read: Callable[[int], T]

    def __getitem__(self, number: int) -> _Found[T] | _Refused:
        with heard() as warned:
            try:
                return _Found(self.read(number), warned)
            except DataError as error:
                return _Refused(str(error), warned)


def _as_it_is(found: T) -> T:
    return found


def _begin(worker: int) -> None:
    """Leave it to whoever has started this process to end it, a signal from a terminal being for all of a group.

    Warnings are printed there, too.
    """
    be_mute()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
