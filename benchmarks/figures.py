"""Draw the figures in results/figures: pictures of the embedded suites, and curves of the committed results.

    python benchmarks/figures.py [NAME ...] [--out FOLDER]

Names: shapes, digits (pictures); continual, forgetting, landscape, methods, model_size, regret, solvers, tpe, worlds
(results); all by default.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from shared.figures import contact_sheets, continual, landscape, methods, model_size, regret, solvers, tpe, worlds
from shared.rows import RESULTS

FIGURES: dict[str, Callable[[], Figure]] = {
    "shapes": contact_sheets.shapes_sheet,
    "digits": contact_sheets.digits_sheet,
    "continual": continual.draw,
    "forgetting": methods.forgetting,
    "landscape": landscape.draw,
    "methods": methods.draw,
    "model_size": model_size.draw,
    "regret": regret.draw,
    "solvers": solvers.draw,
    "tpe": tpe.draw,
    "worlds": worlds.draw,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(FIGURES), metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--out", type=Path, default=RESULTS / "figures")
    args = parser.parse_args()
    if unknown := set(args.names) - set(FIGURES):
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names:
        FIGURES[name]().savefig(args.out / f"{name}.png")


if __name__ == "__main__":
    main()
