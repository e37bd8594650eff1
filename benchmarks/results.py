"""Write RESULTS.md: the text of shared/results.md.in with tables made of the committed results.

    python benchmarks/results.py [--check]

--check writes nothing and says whether the file is current; the exit code is 1 where it is not.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined
from shared import tables
from shared.numbers import spanned

from metaft.files import write

HERE = Path(__file__).parent
TEMPLATE, OUT = HERE / "shared" / "results.md.in", HERE / "RESULTS.md"


def text() -> str:
    """The page."""
    template = TEMPLATE.read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    modules = (name for _, name, _ in iter_modules(tables.__path__))
    known: dict[str, Any] = {name: import_module(f"{tables.__name__}.{name}") for name in modules}
    known |= {"contents": contents(template), "points": points, "spanned": spanned}
    return environment.from_string(template).render(known)


def contents(page: str) -> str:
    """A list of links to the page's sections."""
    titles = re.findall(r"^## (.*)$", page, re.M)
    return "\n".join(f"- [{title}](#{anchor(title)})" for title in titles)


def anchor(title: str) -> str:
    """What GitHub makes of a title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def points(differences: Sequence[float]) -> str:
    """The size of a mean difference."""
    return f"{abs(fmean(differences)):.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if not args.check:
        write(OUT, text())
        return 0
    current = OUT.exists() and OUT.read_text(encoding="utf-8") == text()
    print("current" if current else "out of date: run python benchmarks/results.py")
    return int(not current)


if __name__ == "__main__":
    sys.exit(main())
