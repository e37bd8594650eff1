"""Staying within memory: the outer set is gone through in parts, and batches are cut where that is the same loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

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
        return Forecasts(loop, self._settings, run.step_share, run.outer_share / 3 + run.outer_sweep, run.step.settings)

    @cached_property
    def ready(self) -> tuple[Estimator, Footprint | None]:
        """The estimator with what it measures once, and a loop's bytes where it depends on them what is kept."""
        settled = self._estimator.settled(self.forecasts.loop)
        if settled != self._estimator:
            note(f"hypergradients: {settled}")
        return settled, self.forecasts.footprint(settled.graphs) if self._settings.storage == "auto" else None


class Cuts(NamedTuple):
    """Into how many parts inner batches are cut, and whether the outer set is."""

    batch: int
    outer: bool


class WithinMemory:
    """The runs of a problem, with the outer set and then its batches in more parts where memory is short.

    `outer_in_parts` is whether the graph of the outer loss is built for as many images at a time as that of a step.

    Args:
        inner: the inner steps, which cut batches.
        most: the images in an inner batch.
        measure: what is measured of loops, anew for each number of parts.
        graphs: whether the runs are differentiated; else the outer set has no graph that could be cut.
    """

    def __init__(self, inner: Steps, most: int, measure: Callable[[], Measured], *, graphs: bool = True) -> None:
        self._inner, self._most, self._measure = inner, most, measure
        self.measured, self._fitted, self.outer_in_parts = measure(), False, inner.parts > 1 or not graphs

    def fit(self, h: Mapping[str, Any]) -> None:
        """Before hypergradients, cut until what is kept fits into what is free, if that helps."""
        if self._fitted:
            return
        before = self._cuts
        while self.measured.forecasts.beyond_memory and self._cut_further(h):
            pass
        if self._cuts != before and self.measured.forecasts.beyond_memory:
            self._cut(before)
        elif self._cuts != before:
            warn(f"search: a hypergradient does not fit into memory; goes on with {self._told(before)}")
        self._fitted = True

    def outcome(
        self, h: Mapping[str, Any], begin: Callable[[], Rollout], body: Callable[[Rollout], Outcome]
    ) -> Outcome:
        """The outcome of a run; where memory runs out it is begun again with the outer set, then batches in more parts.

        That is so where the loss is the same, and as often as it helps: what has helped stays for all later runs.
        """
        before = self._cuts
        while True:
            run = begin()
            outcome = run.guard(partial(body, run))
            if outcome.status != "oom" or not self._cut_further(h):
                break
        if outcome.status == "oom" and self._cuts != before:
            self._cut(before)
        elif self._cuts != before:
            warn(f"search: memory ran out; goes on with {self._told(before)}")
        return outcome

    @property
    def _cuts(self) -> Cuts:
        return Cuts(self._inner.parts, self.outer_in_parts)

    def _cut_further(self, h: Mapping[str, Any]) -> bool:
        """Cut the outer set, or batches into twice as many parts; whether there was anything left to cut."""
        parts, cut = self._cuts
        if not cut:
            self._cut(Cuts(parts, True))
            return True
        if parts >= self._most or not self._inner.of(h, 0).divisible(h):
            return False
        self._cut(Cuts(min(2 * parts, self._most), True))
        return True

    def _cut(self, cuts: Cuts) -> None:
        if cuts.batch != self._inner.parts:
            self._inner.cut(cuts.batch)
        self.outer_in_parts = cuts.outer
        self.measured, self._fitted = self._measure(), False

    def _told(self, before: Cuts) -> str:
        """What is cut now that was not before."""
        parts, cut = self._cuts
        batches = [f"inner.accumulate={parts}"] if parts != before.batch else []
        return " and ".join([*batches, *(["the outer set in parts"] if cut != before.outer else [])])
