"""Search by hypergradients: descents in the unit cube, the first from the recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import DescentConfig, FinalChoice, HypergradConfig
from metaft.errors import ConfigError, Fault
from metaft.progress import note, warn
from metaft.search.bilevel import BilevelProblem, Budget, Choice, Forecasting, first_points, folds_of, seed_for
from metaft.search.evaluations import evaluated, pool
from metaft.search.executors.serial import Serial
from metaft.search.journal import Journal, Record
from metaft.search.rates import at_rates
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.descent import PILOT, Descent
from metaft.search.solvers.session import Session, ranked
from metaft.search.stopping import last_reason
from metaft.space import Float

LADDER = (1 / 3, 1 / 10)  # of the learning rates, tried before the first descent
SPREAD = 0.25  # deviation in the unit cube of further starts from the first


@dataclass(frozen=True)
class Scout:
    """A black-box search before the descents, for categories and the coarse scale: they begin at its best trial.

    Args:
        share: of the budget that it may use.
    """

    solver: BlackBoxSolver
    share: float = 0.3


@dataclass(frozen=True)
class HypergradSolver:
    """Descents on hypergradients; the recipe is the first trial, and one of the finalists.

    Categories have no derivative, and where learning rates destroy the model within the inner loop, none tells what
    would help. So the recipe and what the problem suggests are tried first, then the best of these with lower learning
    rates, where they are searched; the first descent begins at the best of all.

    Args:
        seed: of the trials' inner and outer batches, and of further starts.
        settings: how a descent moves; `starts` descents go one after the other as each settles, the later ones from
            points around the first's, and the search ends when the last one has settled; every `check_every` trials the
            derivative is compared with a slope along a random direction, where the problem offers one (0: never).
        final: how the last choice is made.
        scout: a black-box search before the first descent.
    """

    seed: int = 0
    settings: HypergradConfig = field(default_factory=HypergradConfig)
    final: FinalChoice = field(default_factory=FinalChoice)
    scout: Scout | None = None

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> Choice:
        """Descend until the budget is used or every descent has settled; then choose.

        Raises:
            ConfigError: the budget does not hold the hypergradients of one outer step.
        """
        faults = self.faults(problem, budget)
        if faults:
            raise ConfigError(faults)
        with Session(problem, budget, journal, self.seed, self.final) as session:
            self._explore(session, self._first(problem, budget))
            descents = _Descents(self._starts(problem, session.trials), self.settings)
            for record in session.trials:
                descents.take(record)
            while not descents.settled and not session.exhausted():
                u = descents.now.u
                _, gradient = session.hypergradient(u)
                descents.take(session.trials[-1])
                if self.settings.check_every and len(session.trials) % self.settings.check_every == 0:
                    session.check(u, gradient)
            self._tell(descents, session)
            return session.conclude(proposed=[problem.space.plain(u) for u in descents.ends])

    def faults(self, problem: BilevelProblem, budget: Budget) -> list[Fault]:
        """The limits that do not hold the hypergradients of one outer step."""
        needed, points = self._needed, self._first(problem, budget)
        tried = 0 if self.scout or not points else folds_of(problem) * (len(points) + _slower(problem))
        faults = []
        if budget.trials is not None and budget.trials < tried + needed:
            too_few = f"{budget.trials}, but an outer step takes {needed} hypergradients"
            after = f", after {tried} trials of starting points" if tried else ""
            faults.append(Fault("search.trials", too_few + after, f"at least {tried + needed}"))
        if budget.step_equivalents is not None and isinstance(problem, Forecasting):
            share = 1 - (self.scout.share if self.scout else 0.0)
            least = needed * problem.forecast().step_equivalents / (share * (1 - self.final.final_share))
            if budget.step_equivalents < least:
                too_few = f"{budget.step_equivalents:g}, too few for the {needed} hypergradients of one outer step"
                faults.append(Fault("search.step_equivalents", too_few, f"at least {math.ceil(least)}"))
        return faults

    @property
    def _needed(self) -> int:
        """The hypergradients of the first outer step."""
        return max(PILOT, self.settings.average)

    def _first(self, problem: BilevelProblem, budget: Budget) -> list[dict[str, Any]]:
        """What is tried before lower learning rates: as much as trials allow; nothing without a choice or a rate."""
        points, slower = first_points(problem), _slower(problem)
        if not slower and len(points) == 1:
            return []
        if budget.trials is None:
            return points
        return points[: max(1, (budget.trials - self._needed) // folds_of(problem) - slower)]

    def _explore(self, session: Session, points: Sequence[Mapping[str, Any]]) -> None:
        """Run the scout's trials, or the first points and the ladder, unless the first descent has begun."""
        if any(r.gradient is not None for r in session.trials):
            return
        if self.scout is not None:
            with closing(self.scout.solver.executor(session.problem)) as executor:
                self.scout.solver.explore(session, pool(executor, session.journal), self.scout.share)
            return
        problem, journal, folds = session.problem, session.journal, folds_of(session.problem)
        workers, tried = pool(Serial(problem), journal), len(points) + _slower(problem) if points else 0
        for number in range(len(session.trials), folds * tried):
            which, fold = divmod(number, folds)
            best = ranked(session.trials[: folds * len(points)])[:1] if which >= len(points) else []
            lower = [point for params in best for point in at_rates(problem.space, params, LADDER)]
            known = number < len(journal.starts)  # begun by a search that was interrupted there
            start = journal.starts[number] if known else None
            trial = session.begun(start) if start else session.begin(number, [*points, *lower][which], beside=fold)
            for done in workers.run([trial]):
                session.end(done.job, evaluated(done))

    def _starts(self, problem: BilevelProblem, trials: Iterable[Record]) -> Iterator[Tensor]:
        """The best trial so far, or the recipe; then points around it, in the same categories."""
        tried = ranked(r for r in trials if r.gradient is None)
        first = problem.space.to_unit(tried[0]) if tried else problem.start
        yield first
        real = torch.tensor([isinstance(d, Float) for d in problem.space])
        for i in range(1, self.settings.starts):
            generator = torch.Generator().manual_seed(seed_for(self.seed, "start", i))
            noise = torch.randn(len(first), generator=generator, dtype=torch.float64)
            yield torch.where(real, (first + SPREAD * noise).clamp(0.05, 0.95), first)

    def _tell(self, descents: _Descents, session: Session) -> None:
        """Tell the user of explosions, and of whether the descents settled or the budget ended first."""
        trials = session.trials
        if descents.explosions:
            last = last_reason(trials)
            warn(f"search: {descents.explosions} of {len(trials)} hypergradients exploded and were skipped{last}")
        if descents.settled:
            note(f"search: settled after {len(trials)} trials: further steps promise less than the noise")
        elif not descents.ends:
            warn(f"search: the budget ended after {len(trials)} trials, before the first outer step")


def _slower(problem: BilevelProblem) -> int:
    """How many lower learning rates are tried."""
    return len(at_rates(problem.space, problem.space.plain(problem.start), LADDER))


class _Descents:
    """Descents one after the other, as each settles: a function of the records it was given."""

    def __init__(self, starts: Iterator[Tensor], settings: DescentConfig) -> None:
        self._starts, self._settings = starts, settings
        self._past: list[Descent] = []
        self.now = Descent(next(starts), settings)
        self.settled = False

    def take(self, record: Record) -> None:
        """Learn from a trial; those without a derivative tell nothing."""
        if record.gradient is None:
            return
        self.now.take(torch.tensor(record.gradient, dtype=torch.float64), record.outcome.value)
        if self.now.settled:
            start = next(self._starts, None)
            self.settled = start is None
            if start is not None:
                self._past.append(self.now)
                self.now = Descent(start, self._settings)

    @property
    def explosions(self) -> int:
        """The number of explosions in all descents."""
        return sum(d.explosions for d in (*self._past, self.now))

    @property
    def ends(self) -> list[Tensor]:
        """The end [K] of each descent that has moved, as its mean."""
        return [d.mean for d in (*self._past, self.now) if d.points]
