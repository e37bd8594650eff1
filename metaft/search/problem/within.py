"""Staying within memory: batches are cut into parts where that is the same loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from metaft.config.schema import HypergradConfig
from metaft.inner.loop import Estimator, Footprint, Loop
from metaft.progress import note, warn
from metaft.search.outcome import Outcome
from metaft.search.problem.forecasts import Forecasts
from metaft.search.problem.rollout import Rollout
from metaft.search.problem.steps import Steps

First = Callable[[], tuple[Rollout, Loop]]


class Measured:
    """What is measured once of a problem's loops, while batches stay in as many parts; it is on no run's bill.

    Args:
        first: the run and the loop that are measured.
        estimator, settings: of hypergradients.
    """

    def __init__(self, first: First, estimator: Estimator, settings: HypergradConfig) -> None:
        self._first, self._estimator, self._settings = first, estimator, settings

    @cached_property
    def forecasts(self) -> Forecasts:
        """What one hypergradient takes, by every way."""
        run, loop = self._first()
        return Forecasts(loop, self._settings, run.step_share, run.outer_share, run.step.settings)

    @cached_property
    def ready(self) -> tuple[Estimator, Footprint | None]:
        """The estimator with what it measures once, and a loop's bytes where it depends on them what is kept."""
        settled = self._estimator.settled(self.forecasts.loop)
        if settled != self._estimator:
            note(f"hypergradients: {settled}")
        return settled, self.forecasts.footprint(settled.graphs) if self._settings.storage == "auto" else None


class WithinMemory:
    """The runs of a problem, with its batches cut into more parts where memory is short.

    Args:
        inner: the inner steps, which cut batches.
        most: the images in an inner batch.
        measure: what is measured of loops, anew for each number of parts.
    """

    def __init__(self, inner: Steps, most: int, measure: Callable[[], Measured]) -> None:
        self._inner, self._most, self._measure = inner, most, measure
        self.measured, self._fitted = measure(), False

    def fit(self, h: Mapping[str, Any]) -> None:
        """Before hypergradients, cut batches until what is kept fits into what is free, if that helps."""
        if self._fitted:
            return
        before = parts = self._inner.parts
        able = self._inner.of(h, 0).divisible(h)
        while able and parts < self._most and self.measured.forecasts.beyond_memory:
            parts *= 2
            self._cut(parts)
        if parts > before and self.measured.forecasts.beyond_memory:
            self._cut(before)
        elif parts > before:
            warn(f"search: a hypergradient does not fit into memory; goes on with inner.accumulate={parts}")
        self._fitted = True

    def outcome(
        self, h: Mapping[str, Any], begin: Callable[[], Rollout], body: Callable[[Rollout], Outcome]
    ) -> Outcome:
        """The outcome of a run; where memory runs out it is begun again with batches cut into twice as many parts.

        That is so where the loss is the same, and as often as it helps: what has helped stays for all later runs.
        """
        before = self._inner.parts
        while True:
            run = begin()
            outcome = run.guard(partial(body, run))
            if outcome.status != "oom" or self._inner.parts >= self._most or not run.step.divisible(h):
                break
            self._cut(2 * self._inner.parts)
        if outcome.status == "oom" and self._inner.parts > before:
            self._cut(before)
        elif self._inner.parts > before:
            warn(f"search: memory ran out; goes on with inner.accumulate={self._inner.parts}")
        return outcome

    def _cut(self, parts: int) -> None:
        self._inner.cut(parts)
        self.measured, self._fitted = self._measure(), False
