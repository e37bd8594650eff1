"""Every fine-tuning method side by side: accuracy in and out of distribution, cost, drift.

    python benchmarks/methods.py [--device cpu] [--seeds 0 1 2 3 4] [--workers 2] [--again METHOD ...] [--quick]
                                 [--out FILE]

A cell is a suite with its ID style, a pretraining seed and a data seed: seed s stands for pretraining s mod 3, on
shapes with the ID style that changes every seed, and data seed s. All methods of a cell have the same number of steps,
and the same learning rate, times its `lr_factor` where a method has one; `ft, tuned rate` is plain fine-tuning with
one. `soup` trains several models and `autoft` searches first (hypergradients, the default budget), both on their bill:
`step_equivalents` counts forward passes as 1/3 and backward passes as 2/3 of a step, what a method stands on included.
Rows with `labels` have so many training images a class, and as many steps all the same. `pretraining` is what is left
of the model's first task (shared/pretrained.py).

Methods with knobs have them tuned once a suite, in the cell of data and pretraining seed 1000, which is not reported:
the defaults and seven more points from TPE, each trained for a quarter of the steps, judged by the mean accuracy on
id_val and ood_val: on ood_val alone the best knobs are those that hardly train at all. These rows have `tuning`.
Methods that --again names are measured again in every cell.
Choices within a method (WiSE-FT's alpha, soups, the probe's C) are made by ood_val, then id_val. Seconds are of one
thread beside other workers.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from shared.cells import (
    ID_STYLES,
    LENGTH,
    PRETRAININGS,
    TUNING_SEED,
    Cell,
    by_test,
    cell_of,
    collect,
    fits_in,
    opened,
    pretrain,
    score,
)
from shared.pretrained import recognised
from shared.rows import Row, Rows, arguments
from shared.tuning import QUICK_TRIALS, RATED, TRIALS, Knobs, at_rate, short_fit, trials, tunable, tuned, with_knobs

from metaft import pipeline
from metaft.build.workspace import Workspace
from metaft.cost import Cost
from metaft.errors import DivergedError
from metaft.finetune.fits import Fits, Memory
from metaft.finetune.methods import LEARNED, METHODS, PLAIN
from metaft.results import Results
from metaft.search.journal import Journal

LOW_LABEL = ("ft", "l2_sp", "wise_ft", "ftp", "autoft")
LABELS = (5, 10, 50)  # images a class
KEYS = ("suite", "pretrain", "seed", "method", "number", "labels", "tuning")
QUICK_METHODS = ("zero_shot", RATED, "ft", "wise_ft", "ftp", "autoft", "oracle")


def tune(cell: Cell, method: str) -> list[Row]:
    """The trials of a method's knobs."""
    judge = partial(short_fit, opened(cell), Memory(), method)
    tried = trials(method, QUICK_TRIALS if cell.quick else TRIALS, judge)
    return [cell.row(**row, method=method, labels=None, tuning=True) for row in tried]


def compare(cell: Cell, labels: int | None, knobs: Knobs, methods: tuple[str, ...]) -> list[Row]:
    """A row for each of these methods in a cell."""
    rows = measured(cell, labels, knobs, tuple(method for method in methods if method != RATED))
    if RATED in methods:
        own = measured(cell, labels, {}, (PLAIN,), **at_rate(opened(cell), knobs[RATED]))
        rows += [{**row, "method": RATED, "knobs": knobs[RATED]} for row in own]
    return rows


def measured(cell: Cell, labels: int | None, knobs: Knobs, methods: tuple[str, ...], **changes: Any) -> list[Row]:
    """A row for each of these methods in a cell, with settings that are changed in these fields of `FitSettings`."""
    work = opened(cell)
    fits = fits_in(work, **with_knobs(work, knobs), **({} if cell.quick else LENGTH), **changes)
    fits, search, blank = searched(work, fits, methods)
    results = pipeline.compare(work, fits, methods, blank)
    rows = []
    for method in methods:
        row = cell.row(method=method, labels=labels, tuning=False, knobs=knobs.get(method, {}))
        if method in results.failed:
            rows.append({**row, "failed": results.failed[method]})
            continue
        cost, model, splits = replace(results.cost[method]), fits.model(method), work.splits
        if method in LEARNED:
            cost.add(search)
        row |= {"seconds": round(cost.seconds, 1), "step_equivalents": round(cost.step_equivalents, 1)}
        row |= {"id_val": score(work, model, splits.id_val), "ood_val": score(work, model, splits.ood_val)}
        row |= by_test({split: metrics["accuracy"] for split, metrics in results.metrics[method].items()})
        row["drift"], row["pretraining"] = rounded(results.drift[method]), recognised(work, model)
        if method in results.curve and labels is None:
            row["curve"] = [{"alpha": m["alpha"], **by_test(m["accuracy"])} for m in results.curve[method]]
        rows.append(row)
    return rows


def searched(work: Workspace, fits: Fits, methods: tuple[str, ...]) -> tuple[Fits, Cost, Results]:
    """The fits with a learned objective where a method needs one, what its search cost, and results to begin with."""
    blank = pipeline.blank(work)
    if not set(LEARNED) & set(methods):
        return fits, Cost(), blank
    try:
        search = pipeline.find(work, pipeline.prepared(work), Journal(), fits)
    except DivergedError as error:
        for method in LEARNED:
            blank = blank.with_failure(method, str(error))
        return fits, Cost(), blank
    return replace(fits, context=fits.context.varied(learned=search.objective)), search.cost, blank


def rounded(value: Any) -> Any:
    """Numbers to four digits."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return 0.0 if value == 0 else round(value, 3 - math.floor(math.log10(abs(value))))


def methods_of(cell: Cell, labels: int | None) -> tuple[str, ...]:
    """The methods measured in a cell; the last one's row says that it is done."""
    return LOW_LABEL if labels else QUICK_METHODS if cell.quick else (RATED, *METHODS)


def tunings(suites: tuple[str, ...], _: list[int], args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """The tunings still to be done."""
    for suite in suites:
        cell = cell_of(suite, TUNING_SEED, args.device, args.quick)
        for method in methods_of(cell, None):
            row = cell.row(method=method, labels=None, tuning=True)
            if tunable(method) and row not in rows:
                yield tune, cell, method


def comparisons(suites: tuple[str, ...], seeds: list[int], args: Namespace, rows: Rows) -> Iterator[Any]:
    """The cells still to be measured, those with all labels first."""
    few = () if args.quick else tuple(product(seeds, LABELS))
    for seed, labels in (*((seed, None) for seed in seeds), *few):
        for suite in suites:
            cell = cell_of(suite, seed, args.device, args.quick, labels)
            methods = methods_of(cell, labels)
            if cell.row(method=methods[-1], labels=labels, tuning=False) in rows:
                methods = tuple(m for m in methods if m in args.again)
            if methods:
                yield compare, cell, labels, tuned(rows.rows, suite), methods


def main() -> None:
    args = arguments("methods", __doc__, seeds=(0, 1, 2, 3, 4), workers=2, again=())
    rows = Rows("methods", args, KEYS)
    suites, seeds = (("digits",), args.seeds[:1]) if args.quick else (tuple(ID_STYLES), args.seeds)
    if not args.quick:
        pretrain([TUNING_SEED, *(seed % PRETRAININGS for seed in seeds)], args.device)
    for still_to_do in (tunings, comparisons):
        collect(rows, still_to_do(suites, seeds, args, rows), args.workers)


if __name__ == "__main__":
    main()
