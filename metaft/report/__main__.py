"""python -m metaft.report RUN [RUN ...] [--out FILE]: one page that compares runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from metaft.config.paths import place
from metaft.files import refuse_unwritable
from metaft.report.document import read
from metaft.report.tables import methods_table
from metaft.runfiles import PAGE
from metaft.shell import answered, leave

PROG = "python -m metaft.report"


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Print each run's table and write the page."""
    args = parser(prog).parse_args(argv)
    return answered(lambda: _compared(args.runs, args.out))


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("runs", nargs="+", type=place, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=place, default=Path(PAGE), metavar="FILE", help=f"default: {PAGE}")
    return parser


def _compared(runs: Sequence[Path], out: Path) -> int:
    from metaft.report.write import write_page  # which loads matplotlib: help answers without it

    refuse_unwritable(out)
    for folder in runs:
        print(f"{folder}\n\n{methods_table(read(folder))}\n")
    write_page(runs, out)
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    leave(main())
