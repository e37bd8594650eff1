"""What is handed back in every world: settings of the embedded suites that differ in what should help.

    python benchmarks/worlds.py [--device cpu] [--seeds 0 1 2] [--workers 2] [--solvers hypergrad tpe] [--quick]
                                [--out FILE]

A cell is a world (see shared/worlds.py) and a data seed; the model is the toy CLIP that ships. All settings but those
of the world are the defaults, one for all worlds; they were chosen on other settings of the suites, seeds from 1000 on.
A search has 1,000 step equivalents, whatever the machine is doing meanwhile. `best_by_ood_val` is what a careful person
would ship: of the plain methods, the one with the best cross-fitted accuracy on ood_val. Rows are the plain methods,
then for each solver `autoft`, `autoft_wise` and `handed_back`; with no name after --solvers they are the plain methods
alone. A cell that was begun is measured again as a whole. Seconds are of one thread beside another worker; those of a
search are without the fits that it shares with plain methods.
"""

from __future__ import annotations

from itertools import product

from shared.handed import fill
from shared.rows import Rows, arguments
from shared.worlds import WORLDS

KEYS = ("world", "seed", "solver", "method")


def main() -> None:
    args = arguments("worlds", __doc__, seeds=(0, 1, 2), workers=2, solvers=("hypergrad", "tpe"))
    rows = Rows("worlds", args, KEYS)
    worlds, seeds = (WORLDS[-1:], args.seeds[:1]) if args.quick else (WORLDS, args.seeds)
    cells = [({"world": world.name, "seed": seed}, world.settings) for seed, world in product(seeds, worlds)]
    fill(rows, cells, args)


if __name__ == "__main__":
    main()
