"""python -m metaft.report RUN [RUN ...] [--out FILE] [--follow]: one page over runs, whether they have ended or not."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from metaft.config.paths import place
from metaft.errors import ConfigError, Fault
from metaft.files import refuse_unwritable
from metaft.forms import HEAD, is_page
from metaft.progress import tell
from metaft.report.tables import methods_table
from metaft.report.write import runs_in, write_page
from metaft.runfiles import PAGE
from metaft.shell import answered, leave
from metaft.watch.state import awaits_runs

PROG = "python -m metaft.report"
EVERY = 30.0  # seconds between two pages over runs that go on


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Print each run's table and write the page."""
    args = parser(prog).parse_args(argv)
    if not args.follow:
        return answered(lambda: _compared(args.runs, args.out))
    words = [*PROG.split(), *map(str, args.runs), "--out", str(args.out), "--follow"]
    return answered(lambda: _followed(args.runs, args.out), lambda: shlex.join(words))


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("runs", nargs="+", type=place, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=place, default=Path(PAGE), metavar="FILE", help=f"default: {PAGE}")
    parser.add_argument("--follow", action="store_true", help=f"write it anew every {EVERY:g} s until all have ended")
    return parser


def _refuse_unusable(out: Path, folders: Sequence[Path]) -> None:
    """Refuse a page that cannot be written, or that would replace what a run has left.

    Raises:
        ConfigError: it is asked for.
    """
    refuse_unwritable(out)
    if not out.exists() or not any(out.resolve().is_relative_to(folder.resolve()) for folder in folders):
        return
    with out.open("rb") as file:
        if not is_page(file.read(HEAD)):
            raise ConfigError([Fault("--out", f"{out}, a file of the run", "a new file, or a page")])


def _compared(folders: Sequence[Path], out: Path) -> int:
    """Print and write what is known of runs now."""
    _refuse_unusable(out, folders)
    runs = runs_in(folders)
    for run in runs:
        standing = "".join(f"{name}: {text}\n" for name, text in run.standing.items() if name != "run")
        table = methods_table(run.results) if run.results["methods"] or not standing else ""
        print("\n\n".join(filter(None, [run.name, standing.strip(), table])) + "\n")
    write_page(runs, out)
    print(f"wrote {out}")
    return 0


def _followed(folders: Sequence[Path], out: Path) -> int:
    """Write the page anew until all runs have ended, and then as of any that have."""
    _refuse_unusable(out, folders)
    runs = runs_in(folders)
    tell(f"{out} is written every {EVERY:g} s until the end")
    while any(run.standing for run in runs) or any(map(awaits_runs, folders)):
        write_page(runs, out, EVERY)
        time.sleep(EVERY)
        runs = runs_in(folders)
    return _compared(folders, out)


if __name__ == "__main__":
    leave(main())
