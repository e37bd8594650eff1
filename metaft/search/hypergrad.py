"""Search by hypergradients: Adam in the unit cube, from the recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.progress import warn
from metaft.search.bilevel import BilevelProblem, Budget, SearchResult
from metaft.search.journal import Journal
from metaft.search.session import DEFAULT_FINAL, FinalChoice, Session

BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class HypergradSolver:
    """Projected Adam on clipped hypergradients; the recipe is its first trial.

    An explosion (a derivative that is not finite or longer than `explosion`, or a run that diverged) moves nothing:
    it is counted, reported, and the search goes back to the last point that gave a usable derivative.

    Args:
        lr: Adam's step in the unit cube.
        clip: largest length of a derivative d value / d u.
        explosion: length from which a derivative is not believed.
        check_every: every so many trials the derivative is compared with a slope along a random direction, where the
            problem offers one; 0: never.
    """

    seed: int = 0
    final: FinalChoice = DEFAULT_FINAL
    lr: float = 0.05
    clip: float = 1.0
    explosion: float = 100.0
    check_every: int = 0

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> SearchResult:
        """Descend until the budget is used; then choose."""
        descent = _Descent(problem.start, self)
        with Session(problem, budget, journal, self.seed, self.final) as session:
            for record in session.trials:
                descent.move(torch.tensor(record.gradient, dtype=torch.float64), record.outcome.value)
            while not session.exhausted():
                u = descent.u
                outcome, gradient = session.hypergradient(u)
                descent.move(gradient, outcome.value)
                if self.check_every and len(session.trials) % self.check_every == 0:
                    session.check(u, gradient)
            if descent.explosions:
                reasons = [r.outcome.reason for r in session.trials if r.outcome.reason]
                last = f" (the last: {reasons[-1]})" if reasons else ""
                count = f"{descent.explosions} of {len(session.trials)}"
                warn(f"search: {count} hypergradients exploded and were skipped{last}")
            return session.conclude()


class _Descent:
    """Adam's state in the unit cube; a function of the gradients it was given, so a journal restores it."""

    def __init__(self, start: Tensor, solver: HypergradSolver) -> None:
        self.u = start.clone().double()
        self.explosions = 0
        self._good = self.u
        self._solver = solver
        self._m, self._v, self._t = torch.zeros_like(self.u), torch.zeros_like(self.u), 0

    def move(self, gradient: Tensor, value: float) -> None:
        """One step against the gradient, or back to the last good point."""
        norm = float(gradient.norm())
        if not (math.isfinite(norm) and math.isfinite(value) and norm <= self._solver.explosion):
            self.explosions += 1
            self.u = self._good
            return
        self._good = self.u
        g = gradient * min(1.0, self._solver.clip / max(norm, 1e-12))
        self._t += 1
        self._m = BETAS[0] * self._m + (1 - BETAS[0]) * g
        self._v = BETAS[1] * self._v + (1 - BETAS[1]) * g * g
        m, v = self._m / (1 - BETAS[0] ** self._t), self._v / (1 - BETAS[1] ** self._t)
        self.u = (self.u - self._solver.lr * m / (v.sqrt() + 1e-8)).clamp(0, 1)
