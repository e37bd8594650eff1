"""Search by values alone: a sampler proposes points, given the outcomes of earlier ones, and they are evaluated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metaft.config.schema import FinalChoice
from metaft.errors import DataError, Fault
from metaft.search.bilevel import BilevelProblem, Budget, Choice, first_points, folds_of
from metaft.search.evaluations import evaluated, pool
from metaft.search.executors.pool import Pool
from metaft.search.executors.serial import Serial
from metaft.search.executors.work import MakeExecutor
from metaft.search.journal import Journal
from metaft.search.lines import Record
from metaft.search.outcome import Outcome
from metaft.search.sampler import Failed, History, Sampler, Stopped, Told
from metaft.search.solvers.session import Session
from metaft.space import Space


@dataclass(frozen=True)
class BlackBoxSolver:
    """Any sampler as a solver; the recipe and what the problem suggests are its first trials.

    Args:
        sampler: makes one from a space and a seed, such as `metaft.search.tpe.TPE`.
        seed: of the sampler, and of the trials' inner and outer batches.
        final: how the last choice is made.
        executor: makes the executor that runs trials, from the problem.
        stopping: whether trials above the median of the others at the same inner step are stopped.
        warm_start: the journal of an earlier search of the same space, whose trials the sampler learns from first.
    """

    sampler: Callable[[Space, int], Sampler]
    seed: int = 0
    final: FinalChoice = field(default_factory=FinalChoice)
    executor: MakeExecutor = Serial
    stopping: bool = False
    warm_start: Path | None = None

    def faults(self, problem: BilevelProblem, budget: Budget) -> list[Fault]:
        """None: any budget holds a trial."""
        return []

    def solve(self, problem: BilevelProblem, budget: Budget, journal: Journal) -> Choice:
        """Propose and evaluate until the budget is used; then choose.

        Raises:
            DataError: the journal, or the one of the warm start, is of another space.
            DivergedError: nothing gave a finite value, or too many trials in a row failed with an error.
        """
        session = Session(problem, budget, journal, self.seed, self.final)
        with session, closing(self.executor(problem)) as executor:
            workers = pool(executor, journal)
            self.explore(session, workers)
            return session.conclude(workers)

    def explore(self, session: Session, workers: Pool, share: float = 1.0) -> None:
        """Propose and evaluate until `share` of the budget is used; trials that never ended are run again first."""
        self._recall(session)
        problem, journal = session.problem, session.journal
        sampler, history = self.sampler(problem.space, self.seed), recorded(journal, problem.space)
        first, ended = len(history) - len(journal.starts), {r.number for r in session.trials}
        unfinished = deque(s for s in journal.starts if s.number not in ended)
        points, folds = first_points(problem), folds_of(problem)
        while True:
            while workers.idle and (unfinished or not session.exhausted(share)):
                if unfinished:
                    trial = session.begun(unfinished.popleft(), stopping=self.stopping)
                else:
                    number = len(journal.starts)
                    known = number < folds * len(points)  # each is judged by every part, all on the same batches
                    params = points[number // folds] if known else sampler.propose(history, number)
                    beside = number % folds if known else None
                    trial = session.begin(number, params, stopping=self.stopping, beside=beside)
                    history = history.begun(params)
                workers.submit(trial)
            if workers.busy == 0:
                return
            done = workers.next()
            found = evaluated(done)
            session.end(done.job, found)
            history = history.told(first + done.job.number, told(found.outcome))

    def _recall(self, session: Session) -> None:
        """Put an earlier search's trials at the beginning of a journal, those that an interruption has left out."""
        journal = session.journal
        if self.warm_start is not None and not journal.starts:
            known = {record.number for record in journal.records}
            for record in earlier(self.warm_start, session.problem.space):
                if record.number not in known:
                    journal.append(replace(record, kind="prior"))


def recorded(journal: Journal, space: Space) -> History:
    """The history that a journal holds: the trials of an earlier search, then its own by number, unfinished or not."""
    ended = {r.number: r.outcome for r in journal.records if r.kind == "trial"}
    trials: list[tuple[Mapping[str, Any], Outcome | None]] = [
        *((r.params, r.outcome) for r in journal.records if r.kind == "prior"),
        *((s.params, ended.get(s.number)) for s in journal.starts),
    ]
    history = History.empty(space)
    for row, (params, outcome) in enumerate(trials):
        history = history.begun(params)
        if outcome is not None:
            history = history.told(row, told(outcome))
    return history


def earlier(path: Path, space: Space) -> list[Record]:
    """The trials in the journal of an earlier search.

    Raises:
        DataError: there is no journal, or it is of another space.
    """
    if not path.exists():
        raise DataError(f"{path}: no such journal; allowed: the folder of a run that searched")
    journal = Journal(path, read_only=True)
    journal.bind(space)
    return [r for r in journal.records if r.kind == "trial"]


def told(outcome: Outcome) -> Told:
    """An outcome in the form in which samplers learn from it."""
    if outcome.status == "stopped":
        return Stopped(outcome.value)
    return outcome.value if outcome.status == "ok" else Failed(outcome.reason or outcome.status)
