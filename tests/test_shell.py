"""Faults of the machine and signals end a command with one line and its code, whatever they meet."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaft.errors import DataError, OutOfMemoryError
from metaft.progress import warn
from metaft.shell import answered

GOING = """
import signal, sys, time
from metaft import shell
shell.PATIENCE = 0.2
for number in shell.SIGNALS:  # in tests that are run by nohup or in the background some are ignored
    signal.signal(number, signal.SIG_DFL)
def body():
    print("begun", flush=True)
    {body}
    return 0
shell.leave(shell.answered(body, lambda: "CMD"))
"""
DEAF = """
    for _ in range(9):
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            pass
"""


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("odd: 3; allowed: 4"), 3, "error: odd: 3; allowed: 4\n"),
        (OSError(errno.ENOSPC, "No space left", "a/b"), 3, "error: a/b: No space left; allowed: room, and then CMD\n"),
        (OSError(errno.EROFS, "Read-only", "a"), 3, "error: a: Read-only; allowed: files that can be read and written"),
        (OSError(errno.EIO, "Input/output error"), 3, "error: Input/output error; allowed: files"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 3, "error: x: Permission denied"),
        (OSError("a library's own words"), 3, "error: a library's own words; allowed"),
        (
            ModuleNotFoundError("No module", name="yaml.reader"),
            3,
            "has no package yaml; allowed: a Python with it, by pip",
        ),
        (MemoryError(), 2, "error: MemoryError; allowed: what fits in memory, and then CMD\n"),
        (
            OutOfMemoryError("ft: memory ran out; allowed: a.b=2, c.d=1", ["a.b=2", "c.d=1"]),
            2,
            "error: ft: memory ran out; allowed: a.b=2, c.d=1, and then CMD a.b=2 c.d=1\n",
        ),
        (OutOfMemoryError("search: all trials"), 2, "error: search: all trials\n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "allowed: what fits in memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes\n trace"),
            2,
            "can't allocate memory: 9 bytes;",
        ),
        (RuntimeError("could not create a primitive"), 2, "could not create a primitive; allowed: what fits in memory"),
        (KeyboardInterrupt(), 130, "\ninterrupted; go on with: CMD\n"),
    ],
    ids=str,
)
def test_faults_are_one_line(error, code, said, capsys):
    assert answered(raising(error), lambda: "CMD") == code
    err = capsys.readouterr().err
    assert said in err
    assert err.strip().count("\n") == 0


def test_what_the_first_rank_tells_the_others_do_not(monkeypatch, capsys):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for error in (OutOfMemoryError("ft: memory ran out", ["a.b=2"]), DataError("odd: 3; allowed: 4")):
        error.shared = True
        assert answered(raising(error), lambda: "CMD") == 0
    assert capsys.readouterr().err == ""


def test_a_rank_without_another_is_told_so(monkeypatch, capsys):
    """Whether that one has ended, or holds the others up for longer than they wait."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    late = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 600000ms for recv to complete")
    assert answered(raising(late), lambda: "CMD") == 3
    said = "error: another rank has ended, or keeps the others waiting; allowed: all to the end, and then CMD\n"
    assert capsys.readouterr().err == said


def test_without_anything_to_go_on_with_none_is_named(capsys):
    assert answered(raising(KeyboardInterrupt())) == 130
    assert answered(raising(OSError(errno.EIO, "broken", "f"))) == 3
    assert "and then" not in (err := capsys.readouterr().err)
    assert "interrupted before anything was written" in err


def test_a_bug_is_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        answered(raising(RuntimeError("a bug")))


NOWHERE = "print('ü ±'); print('ö', file=sys.stderr)"


def piped(body: str, how: str, **env: str) -> subprocess.CompletedProcess:
    """A process of this body in a shell, with its streams as `how` says."""
    root = str(Path(__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root, "SCRIPT": GOING.format(body=body), "PYTHONUNBUFFERED": "", **env}
    command = ["bash", "-o", "pipefail", "-c", f'{sys.executable} -c "$SCRIPT" {how}']
    return subprocess.run(command, capture_output=True, env=env, check=False)


@pytest.mark.parametrize("how", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_streams_that_take_nothing_stop_no_work(how, tmp_path):
    done = piped(f"{NOWHERE}; open({str(tmp_path / 'done')!r}, 'w').close()", how)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "done").exists()


def test_letters_that_a_stream_lacks_are_written_out():
    done = piped(NOWHERE, "", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"begun\n\\xfc \\xb1\n", b"\\xf6\n")


def test_work_goes_on_when_the_reader_leaves(tmp_path):
    body = f"print('x' * 10**6, flush=True); print('more', flush=True); open({str(tmp_path / 'done')!r}, 'w').close()"
    done = piped(body, "| head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"begun\n", b"")
    assert (tmp_path / "done").exists()


def test_a_full_disk_under_the_output_itself_is_told():
    done = piped("print('x' * 10**6)", ">/dev/full")
    assert done.returncode == 3
    assert b"No space left on device; allowed: room, and then CMD" in done.stderr


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert answered(lambda: int(signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_as_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert answered(lambda: 0) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def ended(body: str, *after: float, number: int = signal.SIGINT, cwd: Path | None = None) -> tuple[int, str]:
    """Exit code and errors of a process that gets a signal at each of these times after it has begun, in seconds."""
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", GOING.format(body=body)]
    begun = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": cwd}
    with subprocess.Popen(command, **begun, env={**os.environ, "PYTHONPATH": root}) as process:
        assert process.stdout.readline() == "begun\n"
        start = time.monotonic()
        for moment in after:
            time.sleep(max(0.0, start + moment - time.monotonic()))
            process.send_signal(number)
        _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_five_signals_in_five_milliseconds_are_one(number):
    code, err = ended("time.sleep(9)", 0.1, 0.101, 0.102, 0.103, 0.105, number=number)
    assert (code, err) == (130, "\ninterrupted; go on with: CMD\n")


def test_a_later_signal_ends_what_does_not_listen():
    code, err = ended(DEAF, 0.1, 0.5)
    assert (code, err) == (130, "\ninterrupted; go on with: CMD\n")


def test_a_signal_within_an_import_shows_no_trace(tmp_path):
    (tmp_path / "slow_module.py").write_text(
        "import time\ntry:\n    time.sleep(9)\nexcept BaseException as error:\n    raise ImportError from error\n"
    )
    code, err = ended("sys.path.insert(0, '.'); import slow_module", 0.3, cwd=tmp_path)
    assert (code, err) == (130, "\ninterrupted; go on with: CMD\n")


def test_whoever_leaves_early_gets_no_trace():
    done = piped("print('x' * 10**6)", "| head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"begun\n", b"")


def test_a_fault_of_data_is_a_line_of_bounded_length(capsys):
    """Whatever names and contents are in it; what is allowed is at its end."""
    assert answered(raising(DataError(f"a\nb{'x' * 10**6}; allowed: c"))) == 3
    warn("a\nb" + "x" * 10**6)
    told, warned = capsys.readouterr().err.splitlines()
    assert told.startswith(r"error: a\nbxxx")
    assert told.endswith("xxx; allowed: c")
    assert "... (1,000,015 letters) ..." in told
    assert max(map(len, (told, warned))) < 2100
