"""What every command line does with the faults and the signals that end it: one line, its exit code, no trace."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from metaft import ranks
from metaft.errors import (
    ConfigError,
    DataError,
    MetaftError,
    OutOfMemoryError,
    fault_of_system,
    first_line,
    message,
    out_of_memory,
    undetermined,
)
from metaft.streams import forgiving, give_up_on_output

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 2.0  # seconds after a signal in which further ones are taken for the same
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # a full disk
INSTALL = "pip install -e . in the clone"
IMPORTS = "<frozen importlib._bootstrap>"


def answered(body: Callable[[], int], going_on: Callable[[], str] = lambda: "") -> int:
    """The exit code of a command: what its body returns, or that of the fault or signal that ended it, told in a line.

    Args:
        going_on: how to go on after a signal or a fault of the machine; empty: there is nothing to go on with.
    """
    with forgiving():
        return _answered(body, going_on)


def _answered(body: Callable[[], int], going_on: Callable[[], str]) -> int:
    try:
        with _signals(going_on):
            try:
                code = body()
                sys.stdout.flush()
                return code
            except KeyboardInterrupt:  # told while further signals are still taken for the same
                return _stopped(going_on)
    except OutOfMemoryError as error:
        return _told(error, _then(going_on, *error.words) if error.words else "")
    except MetaftError as error:
        return _told(error)
    except KeyboardInterrupt:
        return _stopped(going_on)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "metaft"):
            raise
        return _told(DataError(f"{sys.executable} has no package {package}; allowed: a Python with it, by {INSTALL}"))
    except Exception as error:
        if out_of_memory(error):
            return _told(OutOfMemoryError(f"{first_line(error)}; allowed: what fits in memory{_then(going_on)}"))
        if fault := undetermined(error):
            return _told(fault)
        if ranks.lost_another(error):
            found = "another rank has ended, or keeps the others waiting"
            return _told(DataError(f"{found}; allowed: all to the end{_then(going_on)}"))
        if isinstance(error, OSError):
            allowed = "room" if error.errno in NO_ROOM else "files that can be read and written"
            return _told(DataError(f"{fault_of_system(error)}; allowed: {allowed}{_then(going_on)}"))
        raise


def leave(code: int) -> NoReturn:
    """End the process with an exit code; signals and full disks that come as it ends change nothing any more."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    give_up_on_output()
    sys.exit(code)


@contextmanager
def _signals(going_on: Callable[[], str]) -> Iterator[None]:
    """A context in which the first of `SIGNALS` raises KeyboardInterrupt, and one that comes later ends at once.

    One that is ignored, as SIGHUP is by nohup, stays so. Within an import the first ends at once too, since what is
    imported might make another error of it. Nothing is lost: files are written whole. Beside the main thread, which
    alone gets signals, nothing is changed.
    """
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if first and time.monotonic() - first[0] < PATIENCE:
            return
        if first or _imports(frame):
            with suppress(OSError):
                os.write(2, f"\n{_interrupted(going_on)}\n".encode())
            os._exit(INTERRUPTED)
        first.append(time.monotonic())
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame is part of an import."""
    while frame is not None and frame.f_code.co_filename != IMPORTS:
        frame = frame.f_back
    return frame is not None


def _stopped(going_on: Callable[[], str]) -> int:
    print(f"\n{_interrupted(going_on)}", file=sys.stderr)
    return INTERRUPTED


def _interrupted(going_on: Callable[[], str]) -> str:
    how = going_on()
    return f"interrupted; go on with: {how}" if how else "interrupted before anything was written"


def _then(going_on: Callable[[], str], *words: str) -> str:
    how = going_on()
    return f", and then {' '.join([how, *words])}" if how else ""


def _told(error: MetaftError, then: str = "") -> int:
    rank = ranks.started_as()
    if rank and error.shared:  # the first rank tells; one that ended badly before it would have it killed
        return 0
    said = str(error) if isinstance(error, ConfigError) else message(f"{error}{then}")  # the former has several lines
    print(f"{f'rank {rank}: ' if rank else ''}error: {said}", file=sys.stderr)
    return error.exit_code
