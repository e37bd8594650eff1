"""What a run hands back in one setting of a suite, beside every method that a careful person would try."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace

from metaft import config, pipeline
from metaft.build import fits as fitting
from metaft.build.workspace import Workspace
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext
from metaft.finetune.fits import Fits, Memory
from metaft.finetune.methods import BEST
from metaft.objective import Objective
from metaft.results import HandedBack, SearchResult
from metaft.search.journal import Journal
from shared.cells import PER_GROUP, collect, scores
from shared.rows import Row, Rows

METHODS = (
    "zero_shot",
    "linear_probe",
    "linear_probe_ood_val",
    "wise_probe",
    "ft",
    "wise_ft",
    "ft_ood_val",
    "dfr",
    BEST,
)
SEARCHED = ("autoft", "autoft_wise")
QUICK = (
    *("data.options.id_train=128", "data.options.id_val=40", "data.options.ood_val=40", "data.options.test=24"),
    *("finetune.epochs=1", "inner.steps=2", "search.outer_batch_size=24", "search.candidates=2"),
)
GROUPS = "-groups"  # after a solver's name: parameter groups have rates, weight decays and penalties of their own
BUDGET = ("search.seconds=null", "search.step_equivalents=1000")  # the same on a busy machine
QUICK_BUDGET = ("search.seconds=null", "search.trials=9", "search.step_equivalents=150")


def fill(rows: Rows, cells: Iterable[tuple[Row, Sequence[str]]], args: Namespace) -> None:
    """Measure the cells that a benchmark's rows lack: each is its keys, with the data seed, and its settings."""
    solvers = args.solvers[:1] if args.quick else args.solvers
    last = [(None, METHODS[-1]), *((solver, "handed_back") for solver in solvers)]
    todo = [
        (_cell, keys, settings, args.device, solvers, args.quick)
        for keys, settings in cells
        if not all({**keys, "solver": solver, "method": method} in rows for solver, method in last)
    ]
    collect(rows, todo, args.workers)


def _cell(keys: Row, settings: Sequence[str], device: str, solvers: Sequence[str], quick: bool) -> list[Row]:
    """All rows of a cell."""
    return [{**keys, **row} for row in compared(settings, keys["seed"], device, solvers, quick)]


def compared(settings: Sequence[str], seed: int, device: str, solvers: Sequence[str], quick: bool) -> list[Row]:
    """A row for each plain method, and by solver for each learned one and for what is handed back.

    All settings but these are the defaults.
    """
    compare = f"evaluation.methods=[{', '.join((*METHODS, *SEARCHED))}]"
    words = [compare, f"seed={seed}", f"device={device}", *(QUICK if quick else ()), *settings]
    work, store = pipeline.opened(config.load(None, words)), Memory()
    plain = fits_of(work, store)
    rows = [{"solver": None, "method": name, **measured(work, plain, name)} for name in METHODS]
    for solver in solvers:
        mode, space = solver.removesuffix(GROUPS), (PER_GROUP,) if solver.endswith(GROUPS) else ()
        cfg = config.load(None, [*words, f"search.mode={mode}", *space, *(QUICK_BUDGET if quick else BUDGET)])
        rows += _searched(replace(work, cfg=cfg), store, solver)
    return rows


def fits_of(work: Workspace, store: Memory, learned: Objective | None = None) -> Fits:
    """The methods of a workspace, each fitted when it is first asked for."""
    return fitting.fits(work, FitContext(fitting.fit_settings(work, learned)), store)


def measured(work: Workspace, fits: Fits, name: str) -> Row:
    """Scores of a method, what it costs, its cross-fitted accuracy on ood_val, and what it has chosen."""
    try:
        fit, judged = fits(name), fits.judged(name)
    except DivergedError as error:
        return {"failed": str(error)}
    return {
        **scores(work, fit.model),
        "cross_fitted": None if judged is None else round(judged.accuracy, 4),
        "step_equivalents": round(fit.cost.step_equivalents, 1),
        "seconds": round(fit.cost.seconds, 1),
        "chosen": dict(fit.chosen),
    }


def found(work: Workspace, store: Memory) -> tuple[SearchResult, Fits]:
    """What a search finds, and the methods with the learned ones among them."""
    own = Memory(dict(store.kept))  # so that the learned methods of another solver are not taken for this one's
    result = pipeline.find(work, pipeline.prepared(work), Journal(), fits_of(work, own))
    return result, fits_of(work, own, result.objective)


def _searched(work: Workspace, store: Memory, solver: str) -> list[Row]:
    """The learned methods of one solver, and the model that is handed back."""
    result, fits = found(work, store)
    search = {
        "trials": len(result.trials),
        "step_equivalents": round(result.cost.step_equivalents, 1),
        "seconds": round(result.cost.seconds, 1),
        "space_size": result.space_size,
        "objective": {n: float(f"{v:.3g}") for n, v in result.objective.values().items()},
        "head": result.objective.head,
    }
    rows = [{"solver": solver, "method": name, "search": search, **measured(work, fits, name)} for name in SEARCHED]
    results = pipeline.compare(work, fits, (*METHODS, *SEARCHED), pipeline.blank(work, work.cfg.search.mode))
    return [*rows, {"solver": solver, "method": "handed_back", **_handed(work, fits, results.handed_back)}]


def _handed(work: Workspace, fits: Fits, kept: HandedBack | None) -> Row:
    assert kept is not None, "there are methods to hand back"
    return {"kept": kept.method, "reason": kept.reason, **measured(work, fits, kept.method)}
