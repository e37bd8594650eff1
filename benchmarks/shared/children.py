"""Metaft's command line in forked children of a process that has imported it, and what may be left of a killed one."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from tqdm import tqdm

import metaft
from metaft.run import main

MARK = "METAFT_CHILD"  # in the environment of all that a child starts
LIMIT = 600.0  # seconds after which a child hangs
GRACE = 30.0  # seconds in which what a killed child has started must end
RAYS = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")  # which look for their node once a minute, and then end


def preload() -> None:
    """Import what a run imports, with one thread and without computing, so that forks are cheap and safe."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own are semaphores, which a killed child would leave to the system
    for module in pkgutil.walk_packages(metaft.__path__, "metaft."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("sklearn.datasets", "matplotlib.backends.backend_agg"):
        importlib.import_module(name)


class Child:
    """A process of its own session at work on a command of `metaft.run`; it ends with the process that forked it.

    Args:
        words: of the command line.
        told: a folder, in which `out` and `err` take what it says.
        prepare: is called in it first.
    """

    def __init__(self, words: Sequence[str], told: Path, prepare: Callable[[], object] = lambda: None) -> None:
        self.words, self.told, self.mark = words, told, f"{os.getpid()}-{time.monotonic_ns()}"
        self._begun, self.seconds = time.monotonic(), 0.0
        told.mkdir(exist_ok=True)
        sys.stdout.flush()
        watched, self._held = os.pipe()  # which closes with this process
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._held)
            self._work(watched, prepare)
        os.close(watched)

    def _work(self, watched: int, prepare: Callable[[], object]) -> None:
        """Be the child: never return."""
        code = 1
        try:
            os.setsid()
            os.environ[MARK] = self.mark
            threading.Thread(target=_follow, args=(watched,), daemon=True).start()
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(self.told / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            prepare()
            code = main(self.words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def ended(self) -> int:
        """Its exit code, negative for a signal.

        Raises:
            RuntimeError: it hangs, and is killed.
        """
        code = self._code_within(LIMIT)
        if code is None:
            self.killed_after(0)
            raise RuntimeError(f"{self.words}: still at work after {LIMIT:.0f} s")
        return code

    def killed_after(self, seconds: float) -> int:
        """The exit code of a child that is killed so many seconds after its begin, unless it has ended by then."""
        code = self._code_within(seconds)
        if code is None:
            os.kill(self.pid, signal.SIGKILL)
            code = self._code(os.waitpid(self.pid, 0)[1])
        return code

    def _code_within(self, seconds: float) -> int | None:
        """The exit code of a child that ends within so many seconds of its begin; None: it is still at work then."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return self._code(status)
            if time.monotonic() > self._begun + seconds:
                return None
            time.sleep(0.005)

    def _code(self, status: int) -> int:
        """The exit code of a child that has ended with a status."""
        os.close(self._held)
        self.seconds = time.monotonic() - self._begun
        return os.waitstatus_to_exitcode(status)

    def leftovers(self) -> list[int]:
        """The processes that it has started and that have outlived it for a while, Ray's own agents aside; all end now.

        A worker that is at its work is given some seconds to find out.
        """
        end = time.monotonic() + GRACE
        while (found := self._started(but=RAYS)) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in self._started():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found

    def _started(self, but: tuple[bytes, ...] = ()) -> list[int]:
        """The living processes that have this child's mark in their environment, which they have from their parents."""
        found, mark = [], f"{MARK}={self.mark}".encode()
        for folder in (entry for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            with suppress(OSError):  # it has ended, or is someone else's
                marked = mark in (folder / "environ").read_bytes().split(b"\0")
                if marked and not (folder / "cmdline").read_bytes().startswith(but):
                    found.append(int(folder.name))
        return found

    @property
    def err(self) -> str:
        """What it has said on standard error."""
        return (self.told / "err").read_text(errors="replace")


def _follow(watched: int) -> None:
    """End this session's group when the process that forked it ends."""
    os.read(watched, 1)
    os.killpg(0, signal.SIGKILL)
