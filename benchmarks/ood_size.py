"""How many labelled OOD images it takes, and whether validation milder than the tests can be trusted.

    python benchmarks/ood_size.py [--device cpu] [--seeds 0 1 2] [--workers 2] [--solvers hypergrad] [--quick]
                                  [--out FILE]

A cell is a number of OOD validation images with their severity (1: drawn as far from the ID style as the tests, 0: like
the ID style) and a data seed, in the shapes suite with stickers as the ID style and the toy CLIP that ships. Settings,
methods and budgets are those of worlds.py, and so are the rows.
"""

from __future__ import annotations

from itertools import product

from shared.handed import fill
from shared.rows import Rows, arguments

KEYS = ("labels", "severity", "seed", "solver", "method")
LABELS = (10, 20, 50, 100, 300, 1000)
SEVERITIES = (0.25, 0.5, 0.75)
MANY = 300  # labels where the severity is below that of the tests
CELLS = (*((n, 1.0) for n in LABELS), *((MANY, s) for s in SEVERITIES))


def settings(labels: int, severity: float) -> tuple[str, ...]:
    """The settings of a cell."""
    options = {"style": "sticker", "ood_val": labels, "val_severity": severity}
    return ("data.format=shapes", *(f"data.options.{key}={value}" for key, value in options.items()))


def main() -> None:
    args = arguments("ood_size", __doc__, seeds=(0, 1, 2), workers=2, solvers=("hypergrad",))
    rows = Rows("ood_size", args, KEYS)
    sizes, seeds = (CELLS[2:3], args.seeds[:1]) if args.quick else (CELLS, args.seeds)
    cells = [
        ({"labels": labels, "severity": severity, "seed": seed}, settings(labels, severity))
        for seed, (labels, severity) in product(seeds, sizes)
    ]
    fill(rows, cells, args)


if __name__ == "__main__":
    main()
