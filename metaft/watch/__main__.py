"""python -m metaft.watch RUN: how far a run is, its best value, its cost, its last trials; until it has ended."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from metaft.config.paths import place
from metaft.errors import ConfigError, Fault
from metaft.shell import answered, leave
from metaft.watch.frame import frame
from metaft.watch.state import Looking

PROG = "python -m metaft.watch"
EVERY = 2.0  # seconds between two looks


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line; returns the exit code."""
    args = parser(prog).parse_args(argv)
    show = _once if args.once else _follow
    return answered(lambda: show(args.run), lambda: shlex.join([*PROG.split(), str(args.run)]))


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("run", type=place, metavar="RUN", help="the folder of a run that was begun")
    parser.add_argument("--once", action="store_true", help="print how it is now as plain text, and stop")
    return parser


def _once(run: Path) -> int:
    print(frame(Looking(run).now(), time.time()).text())
    return 0


def _follow(run: Path) -> int:
    """Show the run until it has ended.

    Raises:
        ConfigError: the package that draws on terminals is not installed.
    """
    looking = Looking(run)
    state = looking.now()
    try:
        from rich.live import Live
    except ImportError:
        raise ConfigError([Fault("watch", "no package rich", '--once; or pip install "metaft[watch]"')]) from None
    with Live(frame(state, time.time()).rendered(), auto_refresh=False) as live:
        while not state.ended:
            time.sleep(EVERY)
            state = looking.now()
            live.update(frame(state, time.time()).rendered(), refresh=True)
    return 0


if __name__ == "__main__":
    leave(main())
