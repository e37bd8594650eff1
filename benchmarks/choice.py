"""How to settle a noisy search: take the least value seen, or evaluate the best again on fresh seeds.

    python benchmarks/choice.py [--seeds 0 1 ...] [--quick] [--out FILE]

TPE on mixed11 (blackbox.py) with noise of three sizes and 60 or 200 evaluations in all. A row is one way to settle:
`share` of the evaluations go to fresh seeds of so many `candidates` and the recipe (0: the least value is taken), and
the true regret of what was chosen. All rows of a seed share one course of trials, of which a larger share sees less.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from shared.blackbox import BlackBox, mixed11
from shared.rows import Rows, arguments

from metaft.config.schema import FinalChoice
from metaft.search.bilevel import Budget
from metaft.search.journal import Journal
from metaft.search.lines import Record
from metaft.search.outcome import Outcome
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.tpe.tpe import TPE

NOISES = (0.05, 0.1, 0.2)
EVALUATIONS = (60, 200)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
CANDIDATES = (2, 4, 8, 16)


class Noisy:
    """A black box as a search problem; the recipe is the middle of the space."""

    def __init__(self, made: BlackBox, noise: float) -> None:
        self.space = made.space
        self.start = torch.full((len(made.space),), 0.5, dtype=torch.float64)
        self._made = BlackBox(made.space, made.regret, noise)

    def evaluate(self, params: Mapping[str, Any], seed: int, report: object = None) -> Outcome:
        value = self._made.observed(params, seed)
        return Outcome(value, 0.0, value, 1, 1.0, 0.0)

    def hypergradient(self, u: torch.Tensor, seed: int) -> tuple[Outcome, torch.Tensor]:
        raise NotImplementedError

    def regret(self, params: Mapping[str, Any]) -> float:
        return self._made.regret(params)


@cache
def course(noise: float, seed: int, trials: int) -> tuple[Noisy, Journal]:
    """A search that has made so many trials, and its journal."""
    problem, journal = Noisy(mixed11(seed), noise), Journal()
    BlackBoxSolver(TPE, seed).solve(problem, Budget(trials=trials), journal)
    return problem, journal


def chosen(noise: float, seed: int, evaluations: int, share: float, candidates: int) -> float:
    """The regret of what is chosen after a part of the course of trials, with the rest for the last choice."""
    problem, journal = course(noise, seed, max(EVALUATIONS))
    count = round((1 - share) * evaluations)
    trials: list[Record] = [r for r in journal.records if r.kind == "trial"][:count]
    if share == 0:
        return problem.regret(min(trials, key=lambda r: r.outcome.value).params)
    part = Journal()
    part.starts, part.records = journal.starts[:count], list(trials)
    solver = BlackBoxSolver(TPE, seed, FinalChoice(candidates=candidates, final_share=share))
    return problem.regret(solver.solve(problem, Budget(trials=count), part).params)


def main() -> None:
    args = arguments("choice", __doc__, seeds=tuple(range(30)))
    rows = Rows("choice", args, ("noise", "evaluations", "share", "candidates", "seed"))
    for noise in NOISES[:1] if args.quick else NOISES:
        for seed in args.seeds[:3] if args.quick else args.seeds:
            for evaluations in EVALUATIONS:
                for share, candidates in [(s, c) for s in SHARES for c in (CANDIDATES if s else (1,))]:
                    cell = {"noise": noise, "evaluations": evaluations, "share": share, "candidates": candidates}
                    if {**cell, "seed": seed} not in rows:
                        regret = chosen(noise, seed, evaluations, share, candidates)
                        rows.add({**cell, "seed": seed, "regret": regret})


if __name__ == "__main__":
    main()
