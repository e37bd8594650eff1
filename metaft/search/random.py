"""Random search: the baseline that any other solver has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from metaft.search.bilevel import BilevelProblem, Budget, SearchResult
from metaft.search.journal import Journal
from metaft.search.session import DEFAULT_FINAL, FinalChoice, Session


@dataclass(frozen=True)
class RandomSolver:
    """Uniform points of the unit cube; the recipe is its first trial."""

    seed: int = 0
    final: FinalChoice = DEFAULT_FINAL

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> SearchResult:
        """Draw and evaluate until the budget is used; then choose."""
        with Session(problem, budget, journal, self.seed, self.final) as session:
            while not session.exhausted():
                number = len(session.trials)
                draw = np.random.default_rng([self.seed, number]).random(len(problem.space))
                u = problem.start if number == 0 else torch.from_numpy(draw)
                session.evaluate(problem.space.plain(u))
            return session.conclude()
