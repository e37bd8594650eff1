"""What makes a search by hypergradients better: how they are computed, averaged and stepped along.

    python benchmarks/descents.py [--device cpu] [--seeds 1000] [--within seconds step_equivalents]
        [--ways exact ...] [--workers 2] [--seconds 240] [--step-equivalents 2000] [--quick] [--out FILE]

A cell is a world of tuning (see shared/worlds.py) and a data seed; all settings but those of the world and the way are
the defaults. Ways to compute a hypergradient search the same problem for so many seconds, one thread beside another
worker; ways to average and to step along, whose hypergradients cost the same, for so many step equivalents, however
busy the machine is. The last choice is included. A row has the mean outer loss of what was chosen over inner runs on
batches that no search has seen, the same for all ways, that of the recipe there, and how many hypergradients were
taken. A smoothed way takes two of them for each outer step, on either side of the point along a random direction,
`radius` from it in each coordinate of the unit cube on average.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, product
from statistics import fmean
from typing import Any

import torch
from shared.cells import collect
from shared.handed import QUICK
from shared.rows import Row, Rows, arguments
from shared.worlds import TUNING, World
from torch import Tensor

from metaft import config, pipeline
from metaft.build.problem import problem_in
from metaft.build.solver import solver
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.outcome import Outcome

KEYS = ("world", "seed", "way", "within")
FRESH, FIRST_FRESH = 16, 10**6  # inner runs that judge what was chosen; seeds that no search reaches
QUICKLY = 150  # step equivalents of a smaller version
Ask = Callable[[Tensor, int], tuple[Outcome, Tensor]]


@dataclass(frozen=True)
class Way:
    """Settings of a descent, and the radius of its smoothing."""

    settings: tuple[str, ...] = ()
    radius: float = 0.0


PAIR = ("hypergrad.average=2",)
EXACT = {"exact": Way()}
COMPUTED = {
    "differences, central": Way(("hypergrad.estimator=differences",)),
    "differences, one-sided": Way(("hypergrad.estimator=differences", "hypergrad.sides=one")),
}
STEPPED = {
    "means of two": Way(PAIR),
    **{f"smoothed over {radius}": Way(PAIR, radius) for radius in (0.01, 0.03, 0.1)},
    **{f"first steps of {rate}": Way((f"hypergrad.lr={rate}",)) for rate in (0.05, 0.3)},
}
WAYS = EXACT | COMPUTED | STEPPED
WITHIN = {"seconds": EXACT | COMPUTED, "step_equivalents": EXACT | STEPPED}  # what the ways of a comparison share


def search(world: World, seed: int, name: str, within: str, amount: float, device: str, quick: bool) -> list[Row]:
    """The row of a way in a cell."""
    way = WAYS[name]
    where = (f"seed={seed}", f"device={device}", "search.mode=hypergrad", *(QUICK if quick else ()))
    work = pipeline.opened(config.load(None, [*where, *world.settings, *way.settings]))
    problem, journal = problem_in(work), Journal()
    recipe = problem.space.plain(problem.start)

    def judged(params: dict[str, Any]) -> float:
        seeds = range(FIRST_FRESH, FIRST_FRESH + (2 if quick else FRESH))
        return round(fmean(problem.evaluate(params, seed).value for seed in seeds), 5)

    begun = judged(recipe)
    if way.radius:
        problem.hypergradient = smoothed(problem.hypergradient, way.radius)
    choice = solver(work.cfg).solve(problem, Budget(**{within: amount}), journal)
    taken = sum(r.gradient is not None for r in journal.records)
    row = {"world": world.name, "seed": seed, "way": name, "within": within, "amount": amount, "recipe": begun}
    cost = {"hypergradients": taken, "step_equivalents": round(choice.step_equivalents, 1)}
    return [{**row, "loss": judged(choice.params), **cost}]


def smoothed(ask: Ask, radius: float) -> Ask:
    """Hypergradients on either side of where they are asked for, in turn, along a random direction for each pair."""
    asked = count()

    def beside(u: Tensor, seed: int) -> tuple[Outcome, Tensor]:
        pair, second = divmod(next(asked), 2)
        direction = torch.randn(len(u), generator=torch.Generator().manual_seed(pair), dtype=u.dtype)
        return ask((u + (-radius if second else radius) * direction).clamp(0, 1), seed)

    return beside


def outstanding(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """What is still to be measured."""
    worlds, ways = (TUNING[-1:], ("smoothed over 0.1",)) if args.quick else (TUNING, args.ways)
    for seed, world, within, way in product(args.seeds, worlds, args.within, ways):
        cell = {"world": world.name, "seed": seed, "way": way, "within": within}
        if way in WITHIN[within] and cell not in rows:
            amount = QUICKLY if args.quick else getattr(args, within)
            yield search, world, seed, way, within, amount, args.device, args.quick


def main() -> None:
    amounts = {"seconds": 240, "step-equivalents": 2000}
    args = arguments("descents", __doc__, seeds=(1000,), within=WITHIN, ways=WAYS, workers=2, **amounts)
    rows = Rows("descents", args, KEYS)
    collect(rows, outstanding(args, rows), args.workers)


if __name__ == "__main__":
    main()
