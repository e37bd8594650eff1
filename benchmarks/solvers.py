"""The solvers side by side on shapes: hypergradients, TPE, random search, in small and in large spaces.

    python benchmarks/solvers.py [--device cpu] [--seeds 0 1 2 3 4] [--workers 2] [--ablated 2] [--quick] [--out FILE]

A cell is a triple of ID style, pretraining seed and data seed, the same as in methods.py, so rows can be paired with
that benchmark's. All solvers of a cell see the same problem and try the recipe (plain fine-tuning's learning rate and
weight decay) first; K = 11 is the standard space, in the larger one every parameter group has learning rate, weight
decay and penalties of its own. Each solver runs once, to the largest budget. A smaller budget is read from its journal:
the search is resumed from the records that it would have had, and goes straight to its last choice, which is what a
search with that budget would have done. Every objective chosen is fine-tuned with 248 steps and judged on all tests.

A row is a solver, a space and a budget; `curve` holds what the search saw: [seconds, step equivalents, outer loss,
accuracy on the outer set] of every trial. Rows with an `ablation` change one thing of `hypergrad` in the larger space,
with a budget of step equivalents, in the first --ablated cells. Seconds are of one thread beside other workers.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, product
from typing import Any

import optuna
from cells import Cell, Row, in_workers, opened, pretrain, scores
from common import Rows, arguments
from methods import LENGTH, PRETRAININGS, cell_of
from optuna_sampler import OptunaTPE

from metaft import build, spaces
from metaft.build import Workspace
from metaft.errors import DivergedError
from metaft.objective import Objective
from metaft.search.bilevel import BilevelProblem, Budget, Solver
from metaft.search.blackbox import BlackBoxSolver
from metaft.search.journal import Journal

WALL = 120  # seconds; a fifth of it is read off too
ABLATED = "steps:1500"  # the budget of ablations, which then need no quiet machine
KEYS = ("suite", "pretrain", "seed", "solver", "space", "budget", "ablation")
GROUPS = "objective.per_group=[lr, wd, l1init, l1zero, l2init, l2zero]"
SPACES: dict[str, tuple[str, ...]] = {"standard": (), "groups": (GROUPS,)}  # 11 and 71 hyperparameters
HYPERGRAD, TPE = "search.mode=hypergrad", "search.mode=tpe"
SOLVERS: dict[str, tuple[str, ...]] = {
    "hypergrad": (HYPERGRAD,),
    "tpe": (TPE,),
    "random": ("search.mode=random",),
    "hybrid": (HYPERGRAD, "search.init=tpe"),
    "optuna": (TPE,),
}
STANDARD = ("hypergrad", "tpe", "random")
QUICK = ("inner.steps=2", "search.candidates=1", "search.outer_batch_size=64")


def cell_for(seed: int, args: Namespace) -> Cell:
    """The cell of a seed, as methods.py has it."""
    return cell_of("shapes", seed, args.device, args.quick)


def searched(cell: Cell, solver: str, space: str, more: tuple[str, ...] = ()) -> Cell:
    """The cell with the settings of a search."""
    quick = QUICK if cell.quick else ()
    return replace(cell, settings=(*cell.settings, *SOLVERS[solver], *SPACES[space], *quick, *more))


def made(work: Workspace, solver: str) -> Solver:
    """The solver of a workspace; Optuna's sampler takes the place of ours."""
    own = build.solver(work.cfg)
    if solver == "optuna":
        assert isinstance(own, BlackBoxSolver)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return replace(own, sampler=OptunaTPE)
    return own


def compare(cell: Cell, solver: str, space: str, budgets: tuple[str, ...], ablation: str | None = None) -> list[Row]:
    """A search to the last budget, and a row for each budget."""
    work = opened(searched(cell, solver, space, ABLATIONS[ablation] if ablation else ()))
    problem, journal = build.problem_in(work), Journal()
    searcher = made(work, solver)
    searcher.solve(problem, limit(budgets[-1]), journal)
    rows = []
    for budget in budgets:
        row = cell.row(solver=solver, space=space, K=len(problem.space), budget=budget, ablation=ablation)
        rows.append({**row, **read_off(cell, work, searcher, problem, journal, budget)})
    rows[-1]["curve"] = curve(journal)
    return rows


def curve(journal: Journal) -> list[list[float]]:
    """What the search saw, trial by trial: seconds, step equivalents so far, outer loss, accuracy on the outer set."""
    trials = [r for r in journal.records if r.kind == "trial"]
    spent = accumulate(r.outcome.step_equivalents for r in trials)
    return [
        [round(r.clock, 2), round(steps, 1), round(r.outcome.loss, 4), round(r.outcome.metric, 4)]
        for r, steps in zip(trials, spent, strict=True)
    ]


def limit(budget: str) -> Budget:
    """What a budget's name means: `wall:SECONDS` or `steps:STEP_EQUIVALENTS`."""
    kind, _, number = budget.partition(":")
    return Budget(seconds=float(number)) if kind == "wall" else Budget(step_equivalents=float(number))


def read_off(
    cell: Cell, work: Workspace, searcher: Solver, problem: BilevelProblem, whole: Journal, budget: str
) -> Row:
    """What the search would have chosen with this budget, fine-tuned."""
    part = before(whole, limit(budget), 1 - work.cfg.search.final_share)
    try:
        found = searcher.solve(problem, limit(budget), part)
        tuned = finetuned(cell, work, spaces.objective_of(work.cfg, found.params))
    except DivergedError as error:
        return {"failed": str(error)}
    return {
        "seconds": round(found.seconds, 1),
        "step_equivalents": round(found.step_equivalents, 1),
        "trials": found.trials,
        "val": round(found.value, 4),
        **tuned,
        "objective": {name: float(f"{value:.3g}") for name, value in found.params.items()},
    }


def before(whole: Journal, budget: Budget, share: float) -> Journal:
    """The journal as it was when a search with this budget stopped trying: with the trial that used its share up."""
    trials = [r for r in whole.records if r.kind == "trial"]
    spent = accumulate(r.outcome.step_equivalents for r in trials)
    over = [budget.spent(0, r.clock, steps) >= share for r, steps in zip(trials, spent, strict=True)]
    kept = over.index(True) + 1 if any(over) else len(trials)
    part = Journal()
    part.starts, part.records = whole.starts[:kept], trials[:kept]
    return part


def finetuned(cell: Cell, work: Workspace, objective: Objective) -> Row:
    """Scores after the final fine-tune."""
    settings = build.fit_settings(work, objective)
    return scores(work, build.fit(work, "autoft", settings if cell.quick else replace(settings, **LENGTH)))


TERMS = ("dcm", "entropy", "flyp", "hinge", "kd", "l1init", "l1zero", "l2init", "l2zero")
ABLATIONS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "outer data id_val": ("search.outer_data=id_val",),
    "outer loss ce": ("search.outer_loss=ce",),
    "outer loss margin": ("search.outer_loss=margin",),
    "weights log": ("objective.weight_scale=log",),
    "weights softplus": ("objective.weight_scale=softplus",),
    "T 10": ("inner.steps=10",),
    "T 50": ("inner.steps=50",),
    "cosine": ("inner.schedule=cosine",),
    **{f"without {t}": (f"objective.terms=[{', '.join(x for x in TERMS if x != t)}]",) for t in TERMS},
}


def recipe(cell: Cell) -> list[Row]:
    """Plain fine-tuning, the searches' first trial."""
    work = opened(cell)
    row = cell.row(solver="recipe", space=None, K=0, budget=None, ablation=None)
    return [{**row, **finetuned(cell, work, build.fit_settings(work, None).plain)}]


def outstanding(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """What is still to be measured, cell by cell, so that a stopped benchmark is balanced; then the ablations."""
    budgets = ("wall:3", "wall:6") if args.quick else (f"wall:{WALL / 5:g}", f"wall:{WALL}")
    for seed in args.seeds:
        cell = cell_for(seed, args)
        if cell.row(solver="recipe", space=None, budget=None, ablation=None) not in rows:
            yield recipe, cell
        for space, solver in product(("standard",) if args.quick else SPACES, args.solvers):
            if cell.row(solver=solver, space=space, budget=budgets[-1], ablation=None) not in rows:
                yield compare, cell, solver, space, budgets
    for seed, name in product(args.seeds[: args.ablated], () if args.quick else ABLATIONS):
        cell = cell_for(seed, args)
        if cell.row(solver="hypergrad", space="groups", budget=ABLATED, ablation=name) not in rows:
            yield compare, cell, "hypergrad", "groups", (ABLATED,), name


def main() -> None:
    args = arguments("solvers", __doc__, seeds=(0, 1, 2, 3, 4), workers=2, ablated=2, solvers=STANDARD)
    rows = Rows("solvers", args, KEYS, ("optuna",))
    if args.quick:
        args.seeds = args.seeds[:1]
    else:
        pretrain({seed % PRETRAININGS for seed in args.seeds}, args.device)
    for done in in_workers(list(outstanding(args, rows)), args.workers):
        for row in done:
            rows.add(row)


if __name__ == "__main__":
    main()
