"""python -m metaft.report RUN [RUN ...] [--out FILE]: one page that compares runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from metaft.errors import MetaftError
from metaft.report.document import read
from metaft.report.tables import methods_table
from metaft.report.write import write_page


def main(argv: list[str] | None = None) -> int:
    """Print each run's table and write the page."""
    parser = argparse.ArgumentParser(prog="python -m metaft.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    args = parser.parse_args(argv)
    try:
        for folder in args.runs:
            print(f"{folder}\n\n{methods_table(read(folder))}\n")
        write_page(args.runs, args.out)
    except MetaftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
