"""Evaluations of points: what executors run in a search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch

from metaft.errors import out_of_memory, undetermined
from metaft.progress import warn
from metaft.search.bilevel import BilevelProblem, Maturing
from metaft.search.executors.pool import TRIES, Pool
from metaft.search.executors.work import Done, Executor
from metaft.search.journal import Journal
from metaft.search.lines import Lost
from metaft.search.outcome import Outcome, Status
from metaft.search.stopping import MedianRule
from metaft.space import LARGEST

FAULTS = (ArithmeticError, RuntimeError, MemoryError)  # of arithmetic, of torch, of want of memory


@dataclass(frozen=True)
class Evaluated:
    """An outcome, what was reported on the way to it, (inner step, outer loss), and its derivative if it was asked for.

    The derivative of a run that failed is not known: None.
    """

    outcome: Outcome
    reports: tuple[tuple[int, float], ...] = ()
    gradient: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Evaluation:
    """An evaluation to do: a trial, or a finalist's on a fresh seed.

    `medians` are the outer losses by inner step above which the trial is stopped; None: it runs to its end. `share` is
    that of the final fine-tune's steps, of a finalist that is judged by what they make of it; None: the inner loop's.
    """

    kind: Literal["trial", "final"]
    number: int
    params: Mapping[str, Any]
    seed: int
    medians: Mapping[int, float] | None = None
    share: float | None = None

    def perform(self, problem: BilevelProblem) -> Evaluated:
        """Evaluate the point; one of `FAULTS` makes a failed trial, any other error is raised."""
        rule = None if self.medians is None else MedianRule(self.medians)
        ended = _tried(lambda: Evaluated(self._outcome(problem, rule)))
        return ended if rule is None else replace(ended, reports=tuple(rule.reports))

    def _outcome(self, problem: BilevelProblem, rule: MedianRule | None) -> Outcome:
        if self.share is None:
            return problem.evaluate(self.params, self.seed, rule)
        assert isinstance(problem, Maturing), "evaluations with a share are made for problems that can mature"
        return problem.become(self.params, self.seed, self.share)


@dataclass(frozen=True)
class Differentiation:
    """A trial at a point u of the unit cube, with its derivative, to do; `params` is u in natural units."""

    number: int
    u: tuple[float, ...]
    params: Mapping[str, Any]
    seed: int
    kind: ClassVar[Literal["trial"]] = "trial"

    def perform(self, problem: BilevelProblem) -> Evaluated:
        """The outcome and its derivative at u; one of `FAULTS` makes a failed trial, any other error is raised."""

        def body() -> Evaluated:
            outcome, gradient = problem.hypergradient(torch.tensor(self.u, dtype=torch.float64), self.seed)
            return Evaluated(outcome, gradient=tuple(gradient.tolist()))

        return _tried(body)


def _tried(body: Callable[[], Evaluated]) -> Evaluated:
    """What comes of a run; one of `FAULTS` makes a failed outcome."""
    begin = time.perf_counter()
    try:
        return _sound(body())
    except FAULTS as error:
        return Evaluated(failure(error, time.perf_counter() - begin))


def _sound(it: Evaluated) -> Evaluated:
    """What came of a run in numbers that a journal gives back; one whose value is none of them has diverged."""
    outcome = it.outcome
    loss, metric, value, *mixes = map(_held, (outcome.loss, outcome.metric, outcome.value, *outcome.mixes))
    outcome = replace(outcome, loss=loss, metric=metric, value=value, mixes=tuple(mixes))
    if outcome.status == "ok" and not math.isfinite(value):
        reason = outcome.reason or f"a value of {it.outcome.value:g}"
        outcome = replace(outcome, value=math.inf, status="diverged", reason=reason)
    return replace(it, outcome=outcome, gradient=it.gradient and tuple(map(_held, it.gradient)))


def _held(number: float) -> float:
    """A number, infinite where it is larger than those that a search reckons with."""
    return math.copysign(math.inf, number) if abs(number) > LARGEST else number


def failure(error: Exception, seconds: float) -> Outcome:
    """The outcome of a run that an error ended after so many seconds.

    Raises:
        ConfigError: it is the settings' that an operation may not be run.
    """
    if fault := undetermined(error):
        raise fault from error
    status: Status = "oom" if out_of_memory(error) else "failed"
    return Outcome(math.inf, 0.0, math.inf, 0, 0.0, seconds, status, f"{type(error).__name__}: {error}")


def pool(executor: Executor, journal: Journal) -> Pool:
    """The workers of an executor; their deaths are journalled, so that none is tried more often by resuming."""

    def deaths(evaluation: Evaluation | Differentiation) -> int:
        lost = Lost(evaluation.kind, evaluation.number, evaluation.seed)
        journal.lose(lost)
        warn(f"search: the worker of {lost.kind} {lost.number} died")
        return journal.lost.count(lost)

    return Pool(executor, deaths)


def evaluated(done: Done) -> Evaluated:
    """What came of an evaluation; of one whose worker died each time, a lost outcome."""
    if done.answer is None:
        reason = f"its worker died {TRIES} times"
        return Evaluated(Outcome(math.inf, 0.0, math.inf, 0, 0.0, 0.0, "lost", reason))
    answer: Evaluated = done.answer
    return answer
