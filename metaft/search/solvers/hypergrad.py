"""Search by hypergradients: descents in the unit cube, the first from the recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import DescentConfig, FinalChoice, HypergradConfig
from metaft.errors import ConfigError, Fault
from metaft.progress import note, warn
from metaft.search.bilevel import BilevelProblem, Budget, Choice, Forecasting, first_points, folds_of, seed_for
from metaft.search.evaluations import Evaluation, evaluated, pool
from metaft.search.executors.pool import Pool
from metaft.search.executors.serial import Serial
from metaft.search.executors.work import MakeExecutor
from metaft.search.journal import Journal
from metaft.search.lines import Record
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
        settings: how a descent moves; each of `starts` descents begins as another settles, the later ones from points
            around the first's, and the search ends when the last one has settled; every `check_every` trials the
            derivative is compared with a slope along a random direction, where the problem offers one (0: never).
        final: how the last choice is made.
        scout: a black-box search before the first descent.
        executor: makes the executor that runs trials, from the problem.
        abreast: how many descents are under way at once, each waiting for the slowest after every hypergradient, so
            that what is found does not hang on who was faster.
    """

    seed: int = 0
    settings: HypergradConfig = field(default_factory=HypergradConfig)
    final: FinalChoice = field(default_factory=FinalChoice)
    scout: Scout | None = None
    executor: MakeExecutor = Serial
    abreast: int = 1

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> Choice:
        """Descend until the budget is used or every descent has settled; then choose.

        Raises:
            ConfigError: the budget does not hold the hypergradients of one outer step.
        """
        faults = self.faults(problem, budget)
        if faults:
            raise ConfigError(faults)
        session = Session(problem, budget, journal, self.seed, self.final)
        with session, closing(self.executor(problem)) as executor:
            workers = pool(executor, journal)
            self._explore(session, workers, self._first(problem, budget))
            descents = self._descend(session, workers, budget.trials)
            self._tell(descents, session)
            return session.conclude(workers, [problem.space.plain(u) for u in descents.ends])

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
        """The hypergradients of the first outer step, of all descents that begin with it."""
        return max(PILOT, self.settings.average) * self.abreast

    def _first(self, problem: BilevelProblem, budget: Budget) -> list[dict[str, Any]]:
        """What is tried before lower learning rates: as much as trials allow; nothing without a choice or a rate."""
        points, slower = first_points(problem), _slower(problem)
        if not slower and len(points) == 1:
            return []
        if budget.trials is None:
            return points
        return points[: max(1, (budget.trials - self._needed) // folds_of(problem) - slower)]

    def _explore(self, session: Session, workers: Pool, points: Sequence[Mapping[str, Any]]) -> None:
        """Run the scout's trials, or the first points and the ladder, unless the first descent has begun."""
        if any(r.gradient is not None for r in session.trials):
            return
        if self.scout is not None:
            self.scout.solver.explore(session, workers, self.scout.share)
        elif points:
            self._try(session, workers, points, 0)
            best = ranked(session.trials[: folds_of(session.problem) * len(points)])[:1]
            lower = [point for params in best for point in at_rates(session.problem.space, params, LADDER)]
            self._try(session, workers, lower, len(points))

    def _try(self, session: Session, workers: Pool, points: Sequence[Mapping[str, Any]], before: int) -> None:
        """Run points after so many others, each judged by every part of the outer set, all on the same batches."""
        folds, starts = folds_of(session.problem), session.journal.starts

        def trial(number: int) -> Evaluation:
            if number < len(starts):  # begun by a search that was interrupted there
                return session.begun(starts[number])
            which, fold = divmod(number, folds)
            return session.begin(number, points[which - before], beside=fold)

        numbers = range(folds * before, folds * (before + len(points)))
        for done in workers.run(trial(number) for number in numbers if not session.has_ended(number)):
            session.end(done.job, evaluated(done))

    def _descend(self, session: Session, workers: Pool, most: int | None) -> _Descents:
        """Follow the descents until the budget is used, of which `most` trials are a part, or all have settled."""
        descents = _Descents(self._starts(session.problem, session.trials), self.settings, self.abreast)
        number = 1 + max((trial.number for trial in session.trials if trial.gradient is None), default=-1)
        while not descents.settled:
            points = {n: u for n, u in enumerate(descents.points, number) if most is None or n < most}
            begun = any(map(session.has_ended, points))  # what was begun together is ended, or none would go on alike
            if not points or (not begun and session.exhausted()):
                break
            trials = session.hypergradients(points, workers)
            descents.take(trials)
            number += len(trials)
            for trial in trials:
                if self.settings.check_every and (trial.number + 1) % self.settings.check_every == 0:
                    session.check(points[trial.number], trial)
        return descents

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
        if not descents.ends:
            ended = "every descent exploded where it began" if descents.settled else "the budget ended"
            warn(f"search: {ended} after {len(trials)} trials, before the first outer step")
        elif descents.settled:
            note(f"search: settled after {len(trials)} trials: further steps promise less than the noise")


def _slower(problem: BilevelProblem) -> int:
    """How many lower learning rates are tried."""
    return len(at_rates(problem.space, problem.space.plain(problem.start), LADDER))


class _Descents:
    """Descents, some of them under way, the next of which begins as one settles: a function of the trials it was given.

    Args:
        abreast: how many are under way at once, while there are starts.
    """

    def __init__(self, starts: Iterator[Tensor], settings: DescentConfig, abreast: int) -> None:
        self._starts, self._settings, self._abreast = starts, settings, abreast
        self._begun: list[Descent] = []
        self._under_way: list[Descent] = []
        self._begin()

    def _begin(self) -> None:
        missing = self._abreast - len(self._under_way)
        new = [Descent(start, self._settings) for start in islice(self._starts, missing)]
        self._begun += new
        self._under_way += new

    @property
    def points(self) -> list[Tensor]:
        """Where each descent under way asks for its next hypergradient, [K]."""
        return [d.u for d in self._under_way]

    @property
    def settled(self) -> bool:
        """Whether no descent is under way any more."""
        return not self._under_way

    def take(self, trials: Iterable[Record]) -> None:
        """Learn from trials at `points`, in their order; some of the last may be missing."""
        for descent, trial in zip(self._under_way, trials, strict=False):
            descent.take(torch.tensor(trial.gradient, dtype=torch.float64), trial.outcome.value)
        self._under_way = [d for d in self._under_way if not d.settled]
        self._begin()

    @property
    def explosions(self) -> int:
        """The number of explosions in all descents."""
        return sum(d.explosions for d in self._begun)

    @property
    def ends(self) -> list[Tensor]:
        """The end [K] of each descent that has moved, as its mean."""
        return [d.mean for d in self._begun if d.points]
