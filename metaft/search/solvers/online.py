"""Search along one fine-tune: the window slides, and hyperparameters change as the model trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from metaft.config.schema import DescentConfig
from metaft.errors import ConfigError, Fault
from metaft.inner.state import InnerState
from metaft.search.bilevel import seed_for
from metaft.search.journal import Journal
from metaft.search.lines import Record
from metaft.search.problem.finetune import FinetuneProblem
from metaft.search.solvers.descent import Descent
from metaft.training.schedule import warmup_cosine


def window_faults(problem: FinetuneProblem, how: DescentConfig, budget: float) -> list[Fault]:
    """Why a budget in step equivalents does not hold the windows of one outer step; none where it does."""
    cost, fewest = problem.forecast().step_equivalents, Descent(problem.start, how).needed
    if budget >= fewest * cost:
        return []
    too_few = f"{budget:.0f} step equivalents, but an outer step takes {fewest} windows of {cost:.0f} each"
    more = f"at least {fewest * cost / budget:.1f} times as much, or a longer fine-tune"
    return [Fault("hypergrad.share", too_few, more)]


@dataclass
class Online:
    """Steers a training by hypergradients through its next steps.

    After every `every` steps a window opens: the T steps of the inner loop, from where the training stands with its own
    moments and learning rates, and the derivative of the outer loss after them moves the point in the unit cube. One
    training gives the model and the schedule. The gradient looks no further than the window's end.

    Args:
        problem: the problem whose inner loop is the window.
        journal: takes a trial for each window, from which an interrupted training goes on.
        seed: of the windows' batches.
        how: the settings of the descent.
        total: steps of the training.
        warmup: share of them over which the learning rate rises.
        budget: step equivalents that the windows may add.

    Raises:
        ConfigError: the budget does not hold the windows of one outer step.

    Source: Baydin et al., Online learning rate adaptation with hypergradient descent, ICLR 2018 (windows of one step);
    what short windows miss: Wu et al., Understanding short-horizon bias in stochastic meta-optimization, ICLR 2018.
    """

    problem: FinetuneProblem
    journal: Journal
    seed: int
    how: DescentConfig
    total: int
    warmup: float
    budget: float
    every: int = field(init=False)

    def __post_init__(self) -> None:
        faults = window_faults(self.problem, self.how, self.budget)
        if faults:
            raise ConfigError(faults)
        cost = self.problem.forecast().step_equivalents
        self.every = math.ceil(self.total / math.floor(self.budget / cost))
        self.journal.bind(self.problem.space)
        self._descent = Descent(self.problem.start, self.how)
        self._points = [self._point()]  # at first, then after each window

    def __call__(self, step: int, state: Callable[[], InnerState]) -> dict[str, Any]:
        """The point that a training goes on with after `step` steps, in natural units."""
        while self._seen * self.every <= step:
            if self._seen * self.every == step and len(self.journal.records) == self._seen:
                self._open(step, state())
            self._take(self.journal.records[self._seen])
        return self._points[-1]

    @property
    def _seen(self) -> int:
        """The number of windows that the descent has learned from."""
        return len(self._points) - 1

    def _point(self) -> dict[str, Any]:
        return self.problem.space.plain(self._descent.u)

    def _open(self, step: int, state: InnerState) -> None:
        """Differentiate through the window that opens at a step, and journal it as a trial."""
        ahead = range(step, step + self.problem.steps)
        paces = [max(warmup_cosine(t, self.total, self.warmup), 1e-3) for t in ahead]
        u, seed = self._descent.u, seed_for(self.seed, "window", self._seen)
        outcome, gradient = self.problem.window(u, seed, state, paces)
        slopes = tuple(gradient.tolist())
        self.journal.append(Record("trial", self._seen, self._points[-1], seed, outcome, slopes))

    def _take(self, record: Record) -> None:
        assert record.gradient is not None
        self._descent.take(torch.tensor(record.gradient, dtype=torch.float64), record.outcome.value)
        self._points.append(self._point())

    @property
    def schedule(self) -> list[tuple[float, dict[str, Any]]]:
        """Every point, with the share of the training's steps from which it holds."""
        for record in self.journal.records[self._seen :]:
            self._take(record)
        changes = [(i, after) for i, (before, after) in enumerate(pairwise(self._points)) if after != before]
        return [(0.0, self._points[0]), *((i * self.every / self.total, point) for i, point in changes)]

    @property
    def step_equivalents(self) -> float:
        """The cost of the windows so far."""
        return sum(r.outcome.step_equivalents for r in self.journal.records)
