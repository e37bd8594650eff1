"""The inner steps of a problem, from each head in each fold, and where their runs begin."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from metaft.inner.state import InnerState
from metaft.inner.step import Step
from metaft.names import HEAD
from metaft.objective.heads import ZERO_SHOT
from metaft.search.problem.runs import InnerRuns


class Steps:
    """Inner steps, each made when it is first needed.

    Args:
        runs: the inner loops.
        batch_size: of the inner loop.
        recipe: what the steps of a warm start are taken with, by name.
    """

    def __init__(self, runs: InnerRuns, batch_size: int, recipe: Mapping[str, Any]) -> None:
        self.first = runs.step
        self._runs, self._batch_size, self._recipe = runs, batch_size, recipe
        self._made, self._warmed = dict[tuple[str, int, int], Step](), dict[tuple[int, int], InnerState]()

    def twin(self) -> Steps:
        """The same steps, whose batches are cut by themselves."""
        return copy.copy(self)

    def of(self, h: Mapping[str, Any], fold: int) -> Step:
        """The inner step from the head that a point names."""
        which = (h.get(HEAD, ZERO_SHOT), fold, self.parts)
        if which not in self._made:
            self._made[which] = self.first.begun_at(self._runs.folds[fold].head(which[0]))
        return self._made[which]

    def initial(self, step: Step, fold: int) -> InnerState:
        """Where a run of a step begins, with zero moments, or with those of a warm start in its fold."""
        start = step.initial()
        if self._runs.warm_start == 0:
            return start
        return replace(self._warm(fold), params=start.params, extra=start.extra)

    def _warm(self, fold: int) -> InnerState:
        """The state after the steps of a warm start in a fold."""
        which = (fold, self.parts)
        if which not in self._warmed:
            step, generator = self.of(self._recipe, fold), torch.Generator().manual_seed(0)
            state = step.initial()
            for batch in self._runs.folds[fold].batches.drawn(self._runs.warm_start, self._batch_size, generator):
                state = step.plain(state, batch, self._recipe)
            self._warmed[which] = state
        return self._warmed[which]

    @property
    def parts(self) -> int:
        """Into how many parts batches are cut, of which one at a time is in memory."""
        return self.first.accumulate

    def cut(self, parts: int) -> None:
        """Cut batches into so many parts from now on."""
        self.first = self.first.in_parts(parts)
