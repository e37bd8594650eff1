"""What all solvers share: trials that are journalled and billed, and the last choice."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from metaft.errors import DivergedError
from metaft.progress import bar, warn
from metaft.search.bilevel import BilevelProblem, Budget, Outcome, SearchResult, Sloped, seed_for
from metaft.search.journal import Journal, Record

DISAGREEMENT = 0.05  # between a derivative and a slope, from which a check is reported


@dataclass(frozen=True)
class FinalChoice:
    """How a search settles: so many best points, each evaluated on so many fresh seeds; the best mean wins."""

    candidates: int = 4
    seeds: int = 3


DEFAULT_FINAL = FinalChoice()


class Session:
    """One search at work, a context manager that shows its progress.

    A journal with records is continued: its trials count towards the budget and their numbers go on.
    """

    def __init__(
        self, problem: BilevelProblem, budget: Budget, journal: Journal, seed: int, final: FinalChoice
    ) -> None:
        self.problem, self._budget, self._journal, self._seed, self._final = problem, budget, journal, seed, final
        self._start = time.perf_counter() - sum(r.outcome.seconds for r in journal.records)

    def __enter__(self) -> Session:
        self._bar = bar("search", total=100, unit="%")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def trials(self) -> list[Record]:
        """Finished trials, in order."""
        return [r for r in self._journal.records if r.kind == "trial"]

    def exhausted(self) -> bool:
        """Whether the budget, less what the last choice will cost, is used up; shows how far it is."""
        finals = (self._final.candidates + 1) * self._final.seeds  # the recipe is always among them
        shares = [(r.outcome, 1.0 if r.gradient is None else 1 / 3) for r in self.trials]
        seconds = finals * fmean([o.seconds * s for o, s in shares]) if shares else 0.0
        cost = finals * fmean([o.step_equivalents * s for o, s in shares]) if shares else 0.0
        spent = self._budget.spent(len(shares), self.seconds + seconds, self.step_equivalents + cost)
        self._bar.update(min(100.0, round(100 * spent)) - self._bar.n)
        return spent >= 1 and len(shares) > 0

    @property
    def seconds(self) -> float:
        """Wall-clock time used, earlier sittings included."""
        return time.perf_counter() - self._start

    @property
    def step_equivalents(self) -> float:
        """Cost so far."""
        return sum(r.outcome.step_equivalents for r in self._journal.records)

    def evaluate(self, params: Mapping[str, Any]) -> Outcome:
        """Run the next trial at a point in natural units."""
        number = len(self.trials)
        seed = seed_for(self._seed, "trial", number)
        outcome = self.problem.evaluate(params, seed)
        self._record(Record("trial", number, dict(params), seed, outcome))
        return outcome

    def hypergradient(self, u: Tensor) -> tuple[Outcome, Tensor]:
        """Run the next trial at a point of the unit cube, with its derivative."""
        number = len(self.trials)
        seed = seed_for(self._seed, "trial", number)
        outcome, gradient = self.problem.hypergradient(u, seed)
        params = self.problem.space.plain(u)
        self._record(Record("trial", number, params, seed, outcome, tuple(gradient.tolist())))
        return outcome, gradient

    def check(self, u: Tensor, gradient: Tensor) -> None:
        """Compare the last trial's derivative with the slope along a random direction; a disagreement is reported.

        Problems without a method `slope` are left unchecked. The journal keeps (claimed, measured) as a `check`.
        """
        if not isinstance(self.problem, Sloped):
            return
        trial = self.trials[-1]
        generator = torch.Generator().manual_seed(seed_for(self._seed, "check", trial.number))
        direction = torch.randn(len(u), generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        outcome, measured = self.problem.slope(u, direction, trial.seed)
        claimed = float(gradient @ direction)
        self._record(Record("check", trial.number, trial.params, trial.seed, outcome, (claimed, measured)))
        typical = float(gradient.norm()) / math.sqrt(len(u))
        if not abs(claimed - measured) <= DISAGREEMENT * max(abs(measured), typical):
            slopes = f"{claimed:.4g}, forward mode {measured:.4g}"
            warn(f"search: trial {trial.number}: hypergradient gives a slope of {slopes}")

    def conclude(self) -> SearchResult:
        """Evaluate the best distinct points, and the recipe, on fresh seeds; settle on the best mean.

        Raises:
            DivergedError: no trial, or no finalist on all of its seeds, gave a finite value.
        """
        ok = sorted((r for r in self.trials if r.outcome.status == "ok"), key=lambda r: r.outcome.value)
        if not ok:
            raise DivergedError(f"search: all {len(self.trials)} trials diverged; narrow objective.bounds")
        chosen = {r.number: r for r in ok[: self._final.candidates]}
        chosen.update({r.number: r for r in self.trials[:1]})
        done = {(r.number, r.seed): r for r in self._journal.records if r.kind == "final"}
        values = {n: [self._finalist(r, s, done) for s in range(self._final.seeds)] for n, r in chosen.items()}
        means = {number: fmean(v) for number, v in values.items()}
        best = min(means, key=means.__getitem__)
        if not math.isfinite(means[best]):
            raise DivergedError("search: every finalist diverged on a fresh seed; narrow objective.bounds")
        return SearchResult(
            params=dict(chosen[best].params),
            value=means[best],
            trials=len(self.trials),
            step_equivalents=self.step_equivalents,
            seconds=self.seconds,
            finalists=[{"number": n, "mean": means[n], "values": v} for n, v in values.items()],
        )

    def _finalist(self, candidate: Record, index: int, done: Mapping[tuple[int, int], Record]) -> float:
        seed = seed_for(self._seed, "final", index)
        if (candidate.number, seed) in done:
            return done[candidate.number, seed].outcome.value
        outcome = self.problem.evaluate(candidate.params, seed)
        self._record(Record("final", candidate.number, candidate.params, seed, outcome))
        return outcome.value

    def _record(self, record: Record) -> None:
        self._journal.append(record)
        best = min((r.outcome.value for r in self.trials), default=float("inf"))
        self._bar.set_postfix_str(f"{len(self.trials)} trials, best {best:.4f}")
