"""What the embedded suites show: how far plain fine-tuning, simple robust methods and the anchors get on them.

    python benchmarks/suites.py [--device cpu] [--seeds 0 1 2] [--workers 2] [--quick] [--out FILE]

A cell is a suite with its ID style, a pretraining seed and a data seed: on shapes every pair of --seeds, on digits,
whose real images are the same for all, equal pairs alone. Pretrainings that are missing are made first. A row is one
fitted model: `ft` over a grid of lr; at the lr that is best by id_val L2-SP and KD over a grid of weights, WiSE-FT,
ft_ood_val and dfr; the oracle over a grid of lr; and, in the first cell of each style of shapes, objectives drawn at
random from the standard space. Accuracies are shares; choices between rows are made by `chosen`, from validation
alone. Rows of the suite `timing` are measured first, alone on the machine. --workers processes share the cells, one
thread each.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from shared.cells import ID_STYLES, Cell, collect, fits_in, opened, pretrain, score, scores
from shared.choices import chosen
from shared.rows import Row, Rows, arguments

from metaft.build import space as spaces
from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.data.drawing import digits, shapes
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.styles import COLOURS, STYLES
from metaft.data.shapes import NAMES
from metaft.errors import DivergedError
from metaft.finetune.fits import Fit, Memory
from metaft.finetune.loop import train
from metaft.objective import Objective

LRS = (5e-4, 1e-3, 2e-3)
ORACLE_LRS = (5e-4, 1e-3)
WEIGHTS = {"l2_sp": ("l2init", (0.01, 0.1)), "kd": ("kd", (0.3, 1.0))}
OTHERS = ("wise_ft", "ft_ood_val", "dfr")  # measured last
RANDOM_OBJECTIVES = 40
KEYS = ("suite", "pretrain", "seed", "method", "number")


def measured(work: Workspace, fit: Callable[[], Classifier], row: Row) -> tuple[Row, Classifier | None]:
    """A row with the scores of what is fitted, or with the reason why there are none."""
    start = time.perf_counter()
    try:
        model = fit()
    except DivergedError as error:
        return {**row, "failed": str(error)}, None
    return {**row, "seconds": round(time.perf_counter() - start, 2), **scores(work, model)}, model


def fits(cell: Cell) -> list[Row]:
    """Every model of a cell but the oracle's and the random objectives'."""
    work = opened(cell)
    context = fits_in(work).context
    wd = context.settings.plain.wd
    rows = [cell.row(method="zero_shot", **scores(work, work.classifier))]
    tuned: dict[float, Classifier | None] = {}

    def add(method: str, objective: Objective, **values: Any) -> Classifier | None:
        fit = partial(train, work.classifier, objective, work.splits.search_data, context, method)
        row, model = measured(work, fit, cell.row(method=method, lr=objective.lr, **values))
        rows.append(row)
        return model

    for number, lr in enumerate(LRS):
        tuned[lr] = add("ft", Objective({"ce": 1.0}, lr, wd), number=number)
    lr = chosen(rows, "ft")["lr"]
    for method, (term, weights) in WEIGHTS.items():
        for number, weight in enumerate(weights):
            add(method, Objective({"ce": 1.0, term: weight}, lr, wd), number=number, weight=weight)
    best = tuned[lr]
    assert best is not None, "what has been chosen has been fitted"
    on_it = fits_in(work, store=Memory({"ft": Fit(best)}), plain=Objective({"ce": 1.0}, lr, wd))
    for method in OTHERS:
        rows.append(measured(work, partial(on_it.model, method), cell.row(method=method, lr=lr))[0])
    return rows


def oracle(cell: Cell, number: int) -> list[Row]:
    """The oracle at one learning rate, and how it does on its own validation images."""
    work = opened(cell)
    plain = fits_in(work).context.settings.plain
    fits_at = fits_in(work, plain=replace(plain, lr=ORACLE_LRS[number]))
    where = cell.row(method="oracle", number=number, lr=ORACLE_LRS[number])
    row, model = measured(work, partial(fits_at.model, "oracle"), where)
    seen = work.splits.oracle_data
    return [row if model is None or seen is None else {**row, "own_val": score(work, model, seen.id_val)}]


def random_objective(cell: Cell, number: int) -> list[Row]:
    """A model trained with a point drawn evenly from the unit cube of the standard space."""
    work = opened(cell)
    space = spaces.space(work.cfg)
    u = torch.rand(len(space), generator=torch.Generator().manual_seed(10_000 + number))
    objective = spaces.objective_of(work.cfg, space.plain(u))
    fit = partial(train, work.classifier, objective, work.splits.search_data, fits_in(work).context, "random")
    return [measured(work, fit, cell.row(method="random", number=number, lr=objective.lr))[0]]


def timings(device: str) -> Iterator[Row]:
    """Seconds of 300 plain steps at batch 64, and pictures drawn a second: each the best of three."""
    where = Cell("timing", 0, 0, device, False)
    work = opened(Cell("shapes/photo", 0, 0, device, False))
    context = fits_in(work, steps=300, checks=1).context
    plain, data = context.settings.plain, work.splits.search_data
    fit = best_of_three(lambda: train(work.classifier, plain, data, context, "timing"))
    yield where.row(method="ft", steps=300, seconds=fit)
    n = 10_000
    index, rows = np.arange(n), style_rows(STYLES)[torch.arange(n) % len(STYLES)]
    drawn = {
        "shapes": lambda: shapes.render(index % len(NAMES), rows, index % len(COLOURS), 0, index),
        "digits": lambda: digits.render(index % 10, index % 5, rows, index % len(COLOURS), 0, index),
    }
    for suite, draw in drawn.items():
        yield where.row(method=f"draw_{suite}", images_per_second=round(n / best_of_three(draw)))


def best_of_three(act: Callable[[], object]) -> float:
    """Seconds."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return round(min(seconds), 3)


def jobs(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """What is still to be measured: a function and its arguments."""
    count, seeds = (2, args.seeds[:1]) if args.quick else (RANDOM_OBJECTIVES, args.seeds)
    cells = [
        Cell(f"{suite}/{style}", pretrained, seed, args.device, args.quick)
        for pretrained in seeds
        for seed in seeds
        for suite, styles in ID_STYLES.items()
        for style in (styles[:1] if args.quick else styles)
        if suite == "shapes" or pretrained == seed
    ]
    yield from ((fits, cell) for cell in cells if cell.row(method=OTHERS[-1]) not in rows)
    for cell in cells:
        yield from ((oracle, cell, n) for n in missing(cell, "oracle", len(ORACLE_LRS), rows))
    for cell in cells:
        if cell.suite.startswith("shapes") and cell.pretrain == cell.seed == seeds[0]:
            yield from ((random_objective, cell, n) for n in missing(cell, "random", count, rows))


def missing(cell: Cell, method: str, count: int, rows: Rows) -> list[int]:
    """The numbers of a method's rows that are still to be measured."""
    return [n for n in range(count) if cell.row(method=method, number=n) not in rows]


def main() -> None:
    args = arguments("suites", __doc__, seeds=(0, 1, 2), workers=2)
    rows = Rows("suites", args, KEYS)
    todo = list(jobs(args, rows))
    pretrain({cell.pretrain for _, cell, *_ in todo}, args.device)
    if not args.quick and Cell("timing", 0, 0, args.device, False).row(method="ft") not in rows:
        for row in timings(args.device):
            rows.add(row)
    collect(rows, todo, args.workers)


if __name__ == "__main__":
    main()
