"""The solvers side by side on shapes: hypergradients, TPE, random search, in small and in large spaces.

    python benchmarks/solvers.py [--device cpu] [--seeds 0 1 2 3 4] [--workers 2] [--ablated 2] [--quick] [--out FILE]

A cell is a triple of ID style, pretraining seed and data seed, as in methods.py; some of that benchmark's methods are
fitted in each, to be paired with: the same seed makes another pretraining on another processor. All solvers of a cell
see the same problem and try the recipe (plain fine-tuning's learning rate and weight decay) first; K = 11 is the
standard space, in the larger one every parameter group has learning rate, weight decay and penalties of its own; each
is searched from either head. Each solver runs once, to the largest budget. A smaller budget is read from its journal:
the search is resumed from the records that it would have had, and goes straight to its last choice, which is what a
search with that budget would have done. Every objective chosen is fine-tuned with 248 steps and judged on all tests.

A row is a solver, a space, a head and a budget; `curve` holds what the search saw: [seconds, step equivalents, outer
loss, accuracy on the outer set] of every trial. Fitting the linear probe's head is part of a search's seconds. Rows
with an `ablation` change one thing of `hypergrad` in the larger space from the zero-shot head: in the first --ablated
cells with a budget of step equivalents or trials, and in all cells the estimator, in the same time. The row of `online`
is one steered fine-tune of 10,000 steps. Seconds are of one thread beside other workers.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, product
from typing import Any

import optuna
from shared.cells import (
    LENGTH,
    PER_GROUP,
    PRETRAININGS,
    Cell,
    by_test,
    cell_of,
    collect,
    fits_in,
    opened,
    pretrain,
    scores,
)
from shared.optuna_sampler import OptunaTPE
from shared.rows import Row, Rows, arguments

from metaft import pipeline
from metaft.build.fits import final_steps, finetune_cost
from metaft.build.problem import problem_in
from metaft.build.solver import solver as solver_of
from metaft.build.space import objective_of
from metaft.build.workspace import Workspace
from metaft.errors import DivergedError
from metaft.objective import Objective
from metaft.provenance import identity
from metaft.runfolder import RunFolder
from metaft.search.bilevel import BilevelProblem, Budget, Solver
from metaft.search.journal import Journal
from metaft.search.solvers.blackbox import BlackBoxSolver

WALL = 120  # seconds; a fifth of it is read off too
ABLATED = "steps:600"  # the budget of ablations, which then need no quiet machine
FEW = "trials:13"  # that of inner loops of different lengths: as many hypergradients for each
ONLINE = "share:0.05"  # of a fine-tune of 323 epochs, 10,013 steps
KEYS = ("suite", "pretrain", "seed", "solver", "space", "head", "budget", "ablation")
# From the probe's head the first steps may be longer: chosen on seeds 1000 and 1002, like all defaults of the descent.
HEADS: dict[str, tuple[str, ...]] = {
    "zero_shot": ("objective.head=zero_shot",),
    "linear_probe": ("objective.head=linear_probe", "hypergrad.lr=0.3", "hypergrad.decay=3"),
}
SPACES: dict[str, tuple[str, ...]] = {"standard": (), "groups": (PER_GROUP,)}  # 11 and 71 hyperparameters
HYPERGRAD, TPE = "search.mode=hypergrad", "search.mode=tpe"
SOLVERS: dict[str, tuple[str, ...]] = {
    "hypergrad": (HYPERGRAD,),
    "tpe": (TPE,),
    "random": ("search.mode=random",),
    "hybrid": (HYPERGRAD, "search.init=tpe"),
    "optuna": (TPE,),
    "online": (HYPERGRAD, "hypergrad.regime=online", "finetune.epochs=323", "evaluation.methods=[autoft]"),
}
STANDARD = ("hypergrad", "tpe", "random")
BY_HAND = ("linear_probe", "wise_ft", "ft_ood_val")


def cell_for(seed: int, args: Namespace) -> Cell:
    """The cell of a seed, as methods.py has it."""
    return cell_of("shapes", seed, args.device, args.quick)


@dataclass(frozen=True)
class Search:
    """A solver in a space, from a head, to the last of its budgets."""

    solver: str
    space: str
    head: str
    budgets: tuple[str, ...]
    ablation: str | None = None

    def row(self, cell: Cell, budget: str | None = None) -> Row:
        """The row of a budget in a cell; of the largest where none is named."""
        which = {"solver": self.solver, "space": self.space, "head": self.head, "ablation": self.ablation}
        return cell.row(**which, budget=budget or self.budgets[-1])

    def within(self, cell: Cell) -> Cell:
        """The cell with the settings of this search."""
        chosen = (*SOLVERS[self.solver], *SPACES[self.space], *HEADS[self.head])
        return replace(cell, settings=(*cell.settings, *chosen, *(CHANGES[self.ablation] if self.ablation else ())))


def made(work: Workspace, solver: str) -> Solver:
    """The solver of a workspace; Optuna's sampler takes the place of ours."""
    ours = solver_of(work.cfg)
    if solver == "optuna":
        assert isinstance(ours, BlackBoxSolver)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return replace(ours, sampler=OptunaTPE)
    return ours


def compare(cell: Cell, search: Search) -> list[Row]:
    """A search to the last budget, and a row for each budget."""
    work = opened(search.within(cell))
    problem, journal = problem_in(work), Journal()
    searcher = made(work, search.solver)
    searcher.solve(problem, limit(search.budgets[-1]), journal)
    rows = []
    for budget in search.budgets:
        row = {**search.row(cell, budget), "K": len(problem.space)}
        rows.append({**row, **read_off(cell, work, searcher, problem, journal, limit(budget))})
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
    """What a budget's name means: `wall:SECONDS`, `steps:NUMBER` or `trials:NUMBER`."""
    kind, _, number = budget.partition(":")
    if kind == "wall":
        return Budget(seconds=float(number))
    return Budget(trials=int(number)) if kind == "trials" else Budget(step_equivalents=float(number))


def read_off(
    cell: Cell, work: Workspace, searcher: Solver, problem: BilevelProblem, journal: Journal, budget: Budget
) -> Row:
    """What the search would have chosen with this budget, fine-tuned."""
    part = before(journal, budget, 1 - work.cfg.search.final_share)
    try:
        result = searcher.solve(problem, budget, part)
        tuned = finetuned(cell, work, objective_of(work.cfg, result.params))
    except DivergedError as error:
        return {"failed": str(error)}
    return {
        "seconds": round(result.seconds, 1),
        "step_equivalents": round(result.step_equivalents, 1),
        "trials": result.trials,
        "val": round(result.value, 4),
        **tuned,
        "objective": {name: float(f"{value:.3g}") for name, value in result.params.items()},
    }


def before(journal: Journal, budget: Budget, share: float) -> Journal:
    """The journal as it was when a search with this budget stopped trying: with the trial that used its share up."""
    trials = [r for r in journal.records if r.kind == "trial"]
    spent = accumulate(r.outcome.step_equivalents for r in trials)
    over = [budget.spent(0, r.clock, steps) >= share for r, steps in zip(trials, spent, strict=True)]
    kept = over.index(True) + 1 if any(over) else len(trials)
    part = Journal()
    part.starts, part.records = journal.starts[:kept], trials[:kept]
    return part


def finetuned(cell: Cell, work: Workspace, objective: Objective) -> Row:
    """Scores after the final fine-tune."""
    return scores(work, fits_in(work, objective, **({} if cell.quick else LENGTH)).model("autoft"))


TERMS = ("dcm", "entropy", "flyp", "hinge", "kd", "l1init", "l1zero", "l2init", "l2zero")
ABLATIONS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "outer data id_val": ("search.outer_data=id_val",),
    "outer loss ce": ("search.outer_loss=ce",),
    "outer loss margin": ("search.outer_loss=margin",),
    "weights log": ("objective.weight_scale=log",),
    "weights softplus": ("objective.weight_scale=softplus",),
    "weights in units of pull": ("objective.weight_units=gradient",),
    "cosine": ("inner.schedule=cosine",),
    **{f"without {t}": (f"objective.terms=[{', '.join(x for x in TERMS if x != t)}]",) for t in TERMS},
}
HORIZONS = {f"T {t}": (f"inner.steps={t}",) for t in (10, 20, 50, 200)}
TIMED = {"differences": ("hypergrad.estimator=differences",)}
CHANGES = {**HORIZONS, **ABLATIONS, **TIMED}


def recipe(cell: Cell, head: str) -> list[Row]:
    """Plain fine-tuning from a head, the searches' first trial; from the probe's it is `lp_ft`."""
    work = opened(cell)
    row = cell.row(solver="recipe", space=None, head=head, K=0, budget=None, ablation=None)
    return [{**row, **finetuned(cell, work, replace(fits_in(work).context.settings.plain, head=head))}]


def by_hand(cell: Cell) -> list[Row]:
    """The methods that searches are compared with."""
    work = opened(cell)
    fits = fits_in(work, **({} if cell.quick else LENGTH))
    return [{**hand_row(cell, method), **scores(work, fits.model(method))} for method in BY_HAND]


def hand_row(cell: Cell, method: str) -> Row:
    """The row of a method by hand in a cell."""
    return cell.row(solver=method, space=None, head=None, K=0, budget=None, ablation=None)


def along(cell: Cell, search: Search) -> list[Row]:
    """One steered fine-tune, as `python -m metaft.run` does it."""
    within = search.within(cell)
    with tempfile.TemporaryDirectory() as folder:
        work = opened(replace(within, settings=(*within.settings, f"out={folder}/run")))
        results = pipeline.run(work, RunFolder.create(work.cfg, identity(work)), pipeline.prepared(work))
    spent = results.search
    assert spent is not None
    return [
        {
            **search.row(cell),
            "K": spent["space_size"],
            "trials": spent["trials"],
            "seconds": round(spent["seconds"], 1),
            "step_equivalents": round(spent["step_equivalents"], 1),
            "steps": final_steps(work),
            "share": round(spent["step_equivalents"] / finetune_cost(work), 4),
            **by_test({split: metrics["accuracy"] for split, metrics in results.metrics["autoft"].items()}),
        }
    ]


def outstanding(args: Namespace, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """What is still to be measured, cell by cell, so that a stopped benchmark is balanced; then the ablations."""
    budgets = ("wall:2", "wall:4") if args.quick else (f"wall:{WALL / 5:g}", f"wall:{WALL}")
    heads, spaces = (("zero_shot",), ("standard",)) if args.quick else (HEADS, SPACES)
    for cell in (cell_for(seed, args) for seed in args.seeds):
        if hand_row(cell, BY_HAND[-1]) not in rows:
            yield by_hand, cell
    for seed, head in product(args.seeds, heads):
        cell = cell_for(seed, args)
        if cell.row(solver="recipe", space=None, head=head, budget=None, ablation=None) not in rows:
            yield recipe, cell, head
        for space, solver in product(spaces, args.solvers):
            search = Search(solver, space, head, budgets)
            if search.row(cell) not in rows:
                yield compare, cell, search
    if args.quick:
        return
    for name, seed in product(TIMED, args.seeds):
        cell, search = cell_for(seed, args), Search("hypergrad", "groups", "zero_shot", budgets, name)
        if search.row(cell) not in rows:
            yield compare, cell, search
    online = Search("online", "groups", "zero_shot", (ONLINE,))
    if args.ablated and online.row(cell_for(args.seeds[0], args)) not in rows:
        yield along, cell_for(args.seeds[0], args), online
    for name, seed in product((*HORIZONS, *ABLATIONS), args.seeds[: args.ablated]):
        cell, budget = cell_for(seed, args), FEW if name in HORIZONS else ABLATED
        search = Search("hypergrad", "groups", "zero_shot", (budget,), name)
        if search.row(cell) not in rows:
            yield compare, cell, search


def main() -> None:
    args = arguments("solvers", __doc__, seeds=(0, 1, 2, 3, 4), workers=2, ablated=2, solvers=STANDARD)
    rows = Rows("solvers", args, KEYS, ("optuna",))
    if args.quick:
        args.seeds = args.seeds[:1]
    else:
        pretrain({seed % PRETRAININGS for seed in args.seeds}, args.device)
    collect(rows, outstanding(args, rows), args.workers)


if __name__ == "__main__":
    main()
