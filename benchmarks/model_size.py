"""What the size of a model changes: accuracy out of distribution, and what a fine-tune forgets.

    python benchmarks/model_size.py [--device cpu] [--seeds 0 1 2] [--workers 2] [--models NAME ...] [--quick]
                                    [--out FILE]

A cell is a suite with its ID style and a data seed. The models are the toy CLIP with a fifth and six times its image
tower beside itself, all pretrained on the same pictures from seed 0; mid-clip, or any of open_clip's as
`NAME=PRETRAINED`, such as ViT-B-32=openai, can be named. Methods have their defaults, and the suite's learning rate and
number of steps. `autoft` searches an objective by hypergradients, for 1,000 step equivalents of its model; rows with
`source` have the one that was found on that smaller model instead, carried as `--objective RUN` carries it.
`pretraining` is what is left of the toys' first task (shared/pretrained.py), `parameters` are those of the image tower.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from shared.cells import ID_STYLES, Cell, cell_of, collect, fits_in, opened, pretrain, scores
from shared.pretrained import recognised
from shared.rows import Row, Rows, arguments
from shared.sizes import PRETRAINED, SIZES, model_words

from metaft import pipeline
from metaft.build.carried import Carried
from metaft.build.workspace import Workspace
from metaft.clip.names import TOY
from metaft.errors import DivergedError
from metaft.search.journal import Journal

KEYS = ("model", "suite", "seed", "method", "source")
METHODS = ("zero_shot", "linear_probe", "ft", "wise_ft", "l2_sp", "ftp", "rehearsal")
LEARNED = "autoft"
QUICK_METHODS = ("zero_shot", "ft")
BUDGET = "search.step_equivalents=1000"


def compare(model: str, base: Cell) -> list[Row]:
    """A row for each method in a model's cell, and for objectives that were found on this model and on the toy."""
    cell = of(model, base)
    work = opened(cell)
    fits, size = fits_in(work), sum(p.numel() for p in work.classifier.clip.visual.parameters())
    asked = [(method, None, fits) for method in (QUICK_METHODS if cell.quick else METHODS)]
    for source in dict.fromkeys((model, TOY)):
        learned = found(opened(of(source, base))).to(work)
        asked.append((LEARNED, None if source == model else source, fits_in(work, learned)))
    rows = []
    for method, source, of_method in asked:
        row = cell.row(model=model, method=method, source=source, parameters=size)
        try:
            fitted = of_method.model(method)
        except DivergedError as error:
            rows.append({**row, "failed": str(error)})
            continue
        rows.append({**row, **scores(work, fitted), "pretraining": recognised(work, fitted)})
    return rows


def found(work: Workspace) -> Carried:
    """What a search finds in a cell."""
    return Carried(pipeline.find(work, pipeline.prepared(work), Journal(), fits_in(work)).objective, work.cfg)


def of(model: str, cell: Cell) -> Cell:
    """The cell of a model."""
    return replace(cell, pretrain=0, settings=(*cell.settings, *model_words(model)))


def comparisons(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """The cells still to be measured, those of the largest model first."""
    suites, seeds, models = (
        (("digits",), args.seeds[:1], (TOY,)) if args.quick else (ID_STYLES, args.seeds, args.models)
    )
    for model, seed, suite in product(reversed(models), seeds, suites):
        base = cell_of(suite, seed, args.device, args.quick)
        base = base if args.quick else replace(base, settings=(*base.settings, BUDGET))
        if base.row(model=model, method=LEARNED, source=None if model == TOY else TOY) not in rows:
            yield compare, model, base


def main() -> None:
    args = arguments("model_size", __doc__, seeds=(0, 1, 2), workers=2, models=SIZES)
    rows = Rows("model_size", args, KEYS)
    for model in args.models:
        if model in PRETRAINED and not args.quick:
            pretrain([0], args.device, model)
    collect(rows, comparisons(args, rows), args.workers)


if __name__ == "__main__":
    main()
