"""How soon the command line answers where it has nothing to compute: help, lists, settings, what is wrong with them.

    python benchmarks/startup.py [--repeats 5] [--quick] [--out FILE]

A row is one command: `asked` is what it may take in seconds, `seconds` are what its process took of a processor (user
and system time, what it started included), the median of repeats in which the commands take turns, after one round that
is not counted; `ratio_to_python` is that over the bare interpreter (`python -c pass`) of the same run, and `exit_code`
how it ended. --quick: one repeat.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from shared.rows import Rows, arguments

LISTS = ("terms", "methods", "datasets", "estimators", "executors", "models")
RUN = ("-m", "metaft.run")
BARE = "python -c pass"
COMMANDS: dict[str, tuple[tuple[str, ...], float | None]] = {
    BARE: (("-c", "pass"), None),
    'python -c "import metaft"': (("-c", "import metaft"), 0.1),
    **{
        " ".join(("python -m metaft.run", *words)): ((*RUN, *words), 1.0)
        for words in (
            *(("--help",), ("--validate",), ("--print-config",)),
            *(("--list", name) for name in LISTS),
            ("--mode", "tpe", "inner.stepps=3"),  # a setting that does not exist
        )
    },
}


def processor_seconds(words: Sequence[str]) -> tuple[float, int]:
    """User and system time of a Python process, and its exit code."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, process.returncode


def measured(repeats: int) -> dict[str, tuple[float, int]]:
    """By command its seconds and its exit code."""
    rounds = [{name: processor_seconds(words) for name, (words, _) in COMMANDS.items()} for _ in range(1 + repeats)]
    codes = {name: code for name, (_, code) in rounds[0].items()}
    return {name: (median(taken[name][0] for taken in rounds[1:]), code) for name, code in codes.items()}


def main() -> None:
    args = arguments("startup", __doc__, seeds=(0,), repeats=5)
    rows = Rows("startup", args, ("command",))
    if all({"command": name} in rows for name in COMMANDS):
        return
    taken = measured(1 if args.quick else args.repeats)
    for name, (seconds, code) in taken.items():
        ratio = seconds / taken[BARE][0]
        speed = {"seconds": round(seconds, 3), "ratio_to_python": round(ratio, 1)}
        rows.add({"command": name, "asked": COMMANDS[name][1], **speed, "exit_code": code})


if __name__ == "__main__":
    main()
