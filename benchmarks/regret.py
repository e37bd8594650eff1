"""Every method in every world, knobs tuned alike: what is lost by choosing one method for all of them.

    python benchmarks/regret.py [--device cpu] [--seeds 0] [--workers 2] [--quick] [--out FILE]

A cell is a world (see shared/worlds.py) and a data seed; the model is the toy CLIP that ships, all settings but those
of the world are the defaults, as in worlds.py, whose rows have the methods that search. Knobs are tuned once for all
worlds, on three worlds of tuning with data seed 1000: the defaults and seven more points from TPE, each trained for a
quarter of the steps, judged by accuracy on id_val and ood_val, the mean over both and over these worlds. Trials have
`tuning` and say what they cost, in step equivalents, with what a method stands on. `ft, tuned rate` is plain
fine-tuning whose learning rate is tuned like knobs.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import product
from statistics import fmean
from typing import Any

from shared.cells import TUNING_SEED, collect, fits_in, scores
from shared.handed import QUICK
from shared.rows import Row, Rows, arguments
from shared.tuning import (
    QUICK_TRIALS,
    RATED,
    TRIALS,
    Knobs,
    Params,
    at_rate,
    short_fit,
    trials,
    tunable,
    tuned,
    with_knobs,
)
from shared.worlds import TUNING, WORLDS, World

from metaft import config, pipeline
from metaft.build.workspace import Workspace
from metaft.errors import DivergedError
from metaft.finetune.fits import Memory
from metaft.finetune.methods import BEST, LEARNED, METHODS, PLAIN

KEYS = ("world", "seed", "method", "number", "tuning")
QUICK_METHODS = ("zero_shot", "ft", RATED, "l2_sp")
TUNED_ON = TUNING[:3]  # the others differ from them in the number of labels alone


def methods_of(quick: bool) -> tuple[str, ...]:
    """The methods that are measured: all that neither search nor only pick another."""
    return QUICK_METHODS if quick else (RATED, *(name for name in METHODS if name not in (*LEARNED, BEST)))


@lru_cache(maxsize=len(TUNED_ON))
def opened(world: World, seed: int, device: str, quick: bool) -> Workspace:
    """The data and the model of a cell."""
    return pipeline.opened(
        config.load(None, [f"seed={seed}", f"device={device}", *(QUICK if quick else ()), *world.settings])
    )


def tune(method: str, device: str, quick: bool) -> list[Row]:
    """The trials of a method's knobs."""
    worlds = TUNED_ON[: 1 if quick else None]
    in_worlds = [partial(short_fit, opened(world, TUNING_SEED, device, quick), Memory(), method) for world in worlds]
    tried = trials(method, QUICK_TRIALS if quick else TRIALS, partial(judged, in_worlds))
    return [{"world": None, "seed": TUNING_SEED, "method": method, "tuning": True, **row} for row in tried]


def judged(in_worlds: Sequence[Callable[[Params], Row]], params: Params) -> Row:
    """What the worlds say of a method's knobs: means of accuracies, and costs together."""
    found = [judge(params) for judge in in_worlds]
    if failed := [row for row in found if "failed" in row]:
        return failed[0]
    means = {split: round(fmean(row[split] for row in found), 4) for split in ("id_val", "ood_val")}
    return {**means, "step_equivalents": round(sum(row["step_equivalents"] for row in found), 1)}


def compare(world: World, seed: int, methods: Sequence[str], knobs: Knobs, device: str, quick: bool) -> list[Row]:
    """A row for each of these methods in a cell."""
    work = opened(world, seed, device, quick)
    fits = fits_in(work, **with_knobs(work, knobs))
    rows = []
    for method in methods:
        row = key(world, seed, method)
        try:
            fit = fits_in(work, **at_rate(work, knobs[RATED]))(PLAIN) if method == RATED else fits(method)
        except DivergedError as error:
            rows.append({**row, "failed": str(error)})
            continue
        cost = {"step_equivalents": round(fit.cost.step_equivalents, 1), "seconds": round(fit.cost.seconds, 1)}
        rows.append({**row, **scores(work, fit.model), **cost, "knobs": knobs.get(method, {})})
    return rows


def key(world: World, seed: int, method: str) -> Row:
    """What tells a method's row in a cell from others."""
    return {"world": world.name, "seed": seed, "method": method, "number": 0, "tuning": False}


def tunings(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """The tunings still to be done."""
    for method in methods_of(args.quick):
        if (
            tunable(method)
            and {"world": None, "seed": TUNING_SEED, "method": method, "number": 0, "tuning": True} not in rows
        ):
            yield tune, method, args.device, args.quick


def comparisons(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """The cells in which methods are still to be measured."""
    worlds, seeds = (WORLDS[-1:], args.seeds[:1]) if args.quick else (WORLDS, args.seeds)
    for seed, world in product(seeds, worlds):
        missing = [method for method in methods_of(args.quick) if key(world, seed, method) not in rows]
        if missing:
            yield compare, world, seed, missing, tuned(rows.rows), args.device, args.quick


def main() -> None:
    args = arguments("regret", __doc__, seeds=(0,), workers=2)
    rows = Rows("regret", args, KEYS)
    for still_to_do in (tunings, comparisons):
        collect(rows, still_to_do(args, rows), args.workers)


if __name__ == "__main__":
    main()
