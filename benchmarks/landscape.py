"""How far a hypergradient holds: slopes of the outer loss over ever longer steps, beside the derivative.

    python benchmarks/landscape.py [--device cpu] [--seeds 0 1 2] [--workers 2] [--quick] [--out FILE]

The problem is that of the default run (digits, the toy CLIP), without its ID floor, at the recipe and at a third and a
tenth of its learning rate, after T inner steps. Directions are of length 1 in the unit cube: along the exact
hypergradient, and two at random. A row is a direction and a step s:

    slope = (value(u + s d) - value(u - s d)) / (2 s)     with the same batches, points held to the cube

so that slope / derivative is 1 where the derivative holds. For random directions, whose derivative may be near 0, a
row's `typical` is |hypergradient| / sqrt(K).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from shared.cells import collect
from shared.rows import Row, Rows, arguments
from shared.tables.landscape import ALONG
from torch import Tensor

from metaft import config, pipeline
from metaft.build.problem import problem_in
from metaft.search.problem.finetune import FinetuneProblem
from metaft.search.rates import at_rates

KEYS = ("seed", "T", "rate", "direction", "step")
LENGTHS = (10, 20, 50)
RATES = {"1": 1.0, "1/3": 1 / 3, "1/10": 1 / 10}
STEPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
RANDOM = 2


def main() -> None:
    args = arguments("landscape", __doc__, seeds=(0, 1, 2), workers=2)
    rows = Rows("landscape", args, KEYS)
    lengths, rates, steps = ((2,), ("1/3",), STEPS[3:5]) if args.quick else (LENGTHS, tuple(RATES), STEPS)
    jobs = [
        (measured, seed, length, rate, steps, args.device)
        for seed, length, rate in product(args.seeds[: 1 if args.quick else None], lengths, rates)
        if {"seed": seed, "T": length, "rate": rate, "direction": f"random {RANDOM}", "step": steps[-1]} not in rows
    ]
    collect(rows, jobs, args.workers)


def measured(seed: int, length: int, rate: str, steps: tuple[float, ...], device: str) -> list[Row]:
    """All rows of a point."""
    words = [f"seed={seed}", f"device={device}", f"inner.steps={length}", "search.id_drop_max=null"]
    problem = problem_in(pipeline.opened(config.load(None, words)))
    recipe = problem.space.plain(problem.start)
    u = problem.space.to_unit(at_rates(problem.space, recipe, [RATES[rate]])[0])
    _, gradient = problem.hypergradient(u, seed)
    typical = float(gradient.norm()) / len(u) ** 0.5
    rows = []
    for (name, d), step in product(directions(gradient, seed), steps):
        slope = (value(problem, u + step * d, seed) - value(problem, u - step * d, seed)) / (2 * step)
        numbers = {"derivative": float(gradient @ d), "slope": slope, "typical": typical}
        where = {"seed": seed, "T": length, "rate": rate, "direction": name, "step": step}
        rows.append({**where, **{key: float(f"{x:.6g}") for key, x in numbers.items()}})
    return rows


def directions(gradient: Tensor, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Unit vectors [K] by name: along the gradient, then random ones in the dimensions that it moves."""
    yield ALONG, gradient / gradient.norm()
    generator = torch.Generator().manual_seed(seed)
    for number in range(1, RANDOM + 1):
        d = torch.randn(len(gradient), generator=generator, dtype=torch.float64) * (gradient != 0)
        yield f"random {number}", d / d.norm()


def value(problem: FinetuneProblem, u: Tensor, seed: int) -> float:
    """The outer loss at a point, held to the unit cube."""
    return problem.evaluate(problem.space.plain(u.clamp(0, 1)), seed).value


if __name__ == "__main__":
    main()
