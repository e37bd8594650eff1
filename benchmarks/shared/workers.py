"""Worker processes that end with the process that started them, even where that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, NoReturn

Prepare = Callable[[], object]


def in_workers(jobs: Iterable[tuple[Any, ...]], workers: int, prepare: Prepare | None = None) -> Iterator[Any]:
    """The result of each job, a function and its arguments, in the order in which they end."""
    with pool(workers, prepare) as made:
        for done in as_completed([made.submit(*job) for job in jobs]):
            yield done.result()


@contextmanager
def pool(workers: int, prepare: Prepare | None = None) -> Iterator[ProcessPoolExecutor]:
    """Processes that first call `prepare`; a block that is left early, by a signal too, kills them at their work."""
    spawn = multiprocessing.get_context("spawn")
    with signals_leave(), ProcessPoolExecutor(workers, spawn, _begin, (prepare,)) as made:
        try:
            yield made
        except BaseException:
            made.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                _kill(worker)
            raise


@contextmanager
def signals_leave() -> Iterator[None]:
    """SIGINT and SIGTERM leave the block as an exception does; the exit code is 130 or 143."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _begin(prepare: Prepare | None) -> None:
    """Lead a process group, in which all that this worker starts ends with it, and watch the parent."""
    os.setpgid(0, 0)
    threading.Thread(target=_follow, daemon=True).start()
    if prepare is not None:
        prepare()


def _follow() -> None:
    """Wait for the end of the parent, of which its half of a pipe tells, and end the group."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def _kill(worker: Any) -> None:
    """End a worker's group, or a worker that does not lead one yet."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        worker.kill()
