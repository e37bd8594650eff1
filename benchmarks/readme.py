"""Fill the README's tables from the committed results.

    python benchmarks/readme.py [--check]

Each table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; --check only says whether they are current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from metaft.report.tables import markdown

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
Row = dict[str, Any]


def rows(name: str, device: str = "cpu") -> list[Row]:
    """The rows of a committed result."""
    path = ROOT / "benchmarks" / "results" / device / f"{name}.json"
    return list(json.loads(path.read_text())["rows"])


def quickstart() -> str:
    """Seconds of a whole run, and accuracies, by suite and mode: means over seeds with their range."""
    found = rows("quickstart")
    table = []
    for suite in dict.fromkeys(r["suite"] for r in found):
        of_suite = [r for r in found if r["suite"] == suite]
        for method in ("zero_shot", "ft", "wise_ft"):  # the same in every mode
            once = [r for r in of_suite if r["mode"] == "hypergrad"]
            table.append([suite, method, *_accuracies(once, method), "", ""])
        for mode in dict.fromkeys(r["mode"] for r in of_suite):
            own = [r for r in of_suite if r["mode"] == mode]
            seconds = _span([r["seconds"] for r in own], "{:.0f}")
            trials = _span([r["trials"] for r in own], "{:.0f}")
            table.append([suite, f"autoft, {mode}", *_accuracies(own, "autoft"), trials, seconds])
    return markdown(["suite", "method", "ID test", "OOD test", "trials", "whole run, s"], table)


def exactness() -> str:
    """The worst case over seeds of each check."""
    found = rows("exactness")
    table = []
    for grouped in (False, True):
        kind = "with groups" if grouped else "one group"
        for eps in (1e-8, 1e-2):
            worst = max(r["max_difference"] for r in found if (r.get("eps"), r["grouped"]) == (eps, grouped))
            table.append([f"20 steps against torch.optim.AdamW, eps {eps:g}, {kind}", f"{worst:.1e}"])
        own = [r for r in found if r["check"] == "hypergradient" and r["grouped"] == grouped]
        worst = max(r["max_rel_error"] for r in own)
        count = len(own[0]["rel_error"])
        table.append([f"{count} hypergradients against central differences, {kind}", f"{worst:.1e}"])
    return markdown(["float64, toy CLIP, all terms active, worst of three seeds", "difference"], table)


def _accuracies(found: list[Row], method: str) -> list[str]:
    return [_span([100 * r[split][method] for r in found], "{:.1f}") for split in ("id_test", "ood_test")]


def _span(values: list[float], style: str) -> str:
    low, high = style.format(min(values)), style.format(max(values))
    mean = style.format(fmean(values))
    return mean if low == high else f"{mean} ({low} to {high})"


TABLES: dict[str, Callable[[], str]] = {"quickstart": quickstart, "exactness": exactness}


def filled(text: str) -> str:
    """The README's text with current tables."""
    for name, table in TABLES.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for {name}")
        replacement = f"{begin}\n{table()}\n{end}"
        text = pattern.sub(lambda _, r=replacement: r, text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if args.check:
        print("current" if before == after else "out of date: run python benchmarks/readme.py")
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
