"""Fine-tuning as a bi-level problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HypergradConfig
from metaft.inner.diagnosis import explanation
from metaft.inner.forward import along
from metaft.inner.loop import Estimator, Loop
from metaft.inner.registry import ESTIMATORS
from metaft.inner.state import InnerState
from metaft.inner.step import Step
from metaft.names import ALPHA
from metaft.search.bilevel import Forecast, Report
from metaft.search.outcome import MIXES, Outcome
from metaft.search.problem.careful import careful
from metaft.search.problem.forecasts import Forecasts
from metaft.search.problem.judging import Judged, Judging
from metaft.search.problem.outer import Floor
from metaft.search.problem.point import Point
from metaft.search.problem.rollout import Rollout
from metaft.search.problem.runs import InnerRuns
from metaft.search.problem.steps import Steps
from metaft.search.problem.within import Measured, WithinMemory
from metaft.space import Float, Space
from metaft.training.batches import DrawnBatches


class FinetuneProblem:
    """T AdamW steps on ID batches and those of further sources from theta_0, judged on the outer set.

    Args:
        runs: the inner loops.
        judging: what judges their ends.
        space: the searched terms, `lr`, `wd`, weights of sources, `head` and knobs.
        start: the recipe in the unit cube [K].
        fixed: what is not searched, by name.
        hypergrad: how hypergradients are computed; one longer than `explosion` is traced back to a step and a term.
    """

    def __init__(
        self,
        runs: InnerRuns,
        judging: Judging,
        space: Space,
        start: Tensor,
        fixed: Mapping[str, Any],
        hypergrad: HypergradConfig,
    ) -> None:
        self.space, self.start = space, start
        self.paces, self.steps = runs.paces, len(runs.paces)
        self._folds, self._final = runs.folds, runs.final
        self.batch_size = min(runs.batch_size, len(runs.folds[0].batches.split))
        self._judging, self._fixed = judging, dict(fixed)
        self.inner = Steps(runs, self.batch_size, {**fixed, **space.plain(start)})
        self._hypergrad = hypergrad
        self._estimator: Estimator = ESTIMATORS[hypergrad.estimator].make(hypergrad)
        measure = partial(Measured, self._first, self._estimator, hypergrad)
        self._memory = WithinMemory(self.inner, self.batch_size, measure)
        self._plain = self.inner.twin()  # so that what is found of hypergradients leaves evaluations as they are
        self._plain_memory = WithinMemory(self._plain, self.batch_size, measure, graphs=False)

    def evaluate(self, params: Mapping[str, Any], seed: int, report: Report | None = None) -> Outcome:
        """Run the inner loop without a graph and judge its end.

        Args:
            params: a point in natural units, by name.
            seed: fixes inner and outer batches.
            report: called with (step, outer loss) at half time; True asks to stop there.
        """
        return self._compared(self._evaluated(params, seed, report), seed)

    def _evaluated(self, params: Mapping[str, Any], seed: int, report: Report | None = None) -> Outcome:
        h = {**self._fixed, **params}

        def body(run: Rollout) -> Outcome:
            state = self._plain.initial(run.step, seed % self.folds)
            for t, batch in enumerate(run.batches, 1):
                state = run.step.plain(state, batch, h)
                run.count_steps(1.0)
                if report is not None and t == self.steps // 2:
                    halfway = run.judge(state)
                    if report(t, halfway):
                        return run.outcome(halfway, t, "stopped")
            return run.outcome(run.judge(state), self.steps)

        return self._plain_memory.outcome(h, lambda: self._rollout(self._plain, seed, h), body)

    @property
    def folds(self) -> int:
        """The number of parts of the outer set that judge in turn: seed s is judged by part s mod folds."""
        return len(self._folds)

    def price(self, share: float) -> float:
        """The step equivalents of `become`."""
        floor = self._judging.floor
        judged = self._judging.most + (0 if floor is None else len(floor.images))
        judged *= max(1, len(self._shares))
        trained = len(self._final.paces(share)) * self._folds[0].batches.images(self.batch_size)
        return (trained + judged / 3) / self.batch_size

    def become(self, params: Mapping[str, Any], seed: int, share: float) -> Outcome:
        """What `share` of the final fine-tune's steps makes of a point, on all images that judge it.

        The point is in natural units. Batches are those of the inner loop in size, so that a finalist costs less. Where
        `alpha` is searched, the outcome is that of the best of `MIXES` in its range, each followed 1 / sqrt(share) as
        far, so that it stands for as much of the whole way: weights move with about the square root of the steps.

        Source: Hoffer et al., Train longer, generalize better, NeurIPS 2017, section 3 (there even more slowly).
        """
        h, number = {**self._fixed, **params}, seed % self.folds
        fold, paces = self._folds[number], self._final.paces(share)
        as_final = replace(fold.batches, augment=self._final.augment)
        batches = as_final.drawn(len(paces), self.batch_size, torch.Generator().manual_seed(seed), paces)
        shares = self._shares if ALPHA in params else ()
        whole = {**h, ALPHA: 1.0} if shares else h

        def begin() -> Rollout:
            return self._begun(self._plain.of(h, number), batches, self._judging.whole(number))

        def body(run: Rollout) -> Outcome:
            step = run.step
            state = step.initial()
            for batch in batches:
                state = step.plain(state, batch, whole)
                run.count_steps(1.0)
            ends = (step.mixed(state, alpha * share**-0.5) for alpha in shares)  # one at a time in memory
            outcomes = [run.outcome(run.judge(end), len(paces)) for end in (ends if shares else [state])]
            values = {alpha: outcome.value for alpha, outcome in zip(shares, outcomes, strict=False)}
            bill = {name: getattr(outcomes[-1], name) for name in ("step_equivalents", "seconds")}
            mixes = tuple(values.get(alpha, math.inf) for alpha in MIXES) if values else ()
            return replace(min(outcomes, key=lambda o: o.value), **bill, mixes=mixes)

        return self._plain_memory.outcome(h, begin, body)

    @property
    def _shares(self) -> tuple[float, ...]:
        """Those of `MIXES` that lie in the range of `alpha`."""
        ranges = [d for d in self.space if isinstance(d, Float) and d.name == ALPHA]
        return tuple(alpha for d in ranges for alpha in MIXES if d.low <= alpha <= d.high)

    def hypergradient(self, u: Tensor, seed: int) -> tuple[Outcome, Tensor]:
        """The value at u and its derivative d value / d u, float64 [K] (0 for whole numbers and categories).

        Nothing is clipped or averaged; a run that exhausts the memory gives NaN for a derivative. Where it explodes,
        the outcome's `reason` names the inner step and the term.
        """
        point = self._point(u)
        outcome, gradient = self._differentiated(point, seed)
        return self._compared(outcome, seed), gradient

    def window(self, u: Tensor, seed: int, state: InnerState, paces: Sequence[float]) -> tuple[Outcome, Tensor]:
        """As `hypergradient`, for an inner loop that starts from a state, with a pace for each of its steps."""
        return self._differentiated(self._point(u), seed, state, paces)

    def _point(self, u: Tensor) -> Point:
        return Point(self.space, u, self._fixed)

    def _differentiated(
        self, point: Point, seed: int, state: InnerState | None = None, paces: Sequence[float] | None = None
    ) -> tuple[Outcome, Tensor]:
        gradient, h = torch.full_like(point.u, math.nan), {**point.rest, **point.h}
        self._memory.fit(h)

        def body(run: Rollout) -> Outcome:
            loop = self._loop(run, point, state or self.inner.initial(run.step, seed % self.folds))
            estimator, _ = self._memory.measured.ready
            _, by_name = estimator(loop)
            gradient.copy_(point.pull(by_name))
            run.count(run.outer_sweep)
            length = float(gradient.norm())
            sound = math.isfinite(length) and length <= self._hypergrad.explosion
            reason = "" if sound else explanation(estimator, loop, run.step, h, length)
            return replace(run.outcome(run.loss, len(run.batches)), reason=reason)

        return self._memory.outcome(h, lambda: self._rollout(self.inner, seed, point.rest, paces), body), gradient

    def slope(self, u: Tensor, direction: Tensor, seed: int) -> tuple[Outcome, float]:
        """The value at u and its slope along a direction [K], by forward mode: a check on `hypergradient`."""
        point, slopes = self._point(u), list[float]()

        def body(run: Rollout) -> Outcome:
            loop = self._loop(run, point, self.inner.initial(run.step, seed % self.folds))
            _, (slope,) = along(loop, [point.push(direction)])
            slopes.append(float(slope))
            run.count(run.outer_sweep)
            return run.outcome(run.loss, self.steps)

        h = {**point.rest, **point.h}
        outcome = self._memory.outcome(h, lambda: self._rollout(self.inner, seed, point.rest), body)
        return self._compared(outcome, seed), slopes[0] if slopes else math.nan

    def forecast(self) -> Forecast:
        """What one hypergradient will take, from one step's graph, which is built once."""
        return self.forecasts.of()

    @property
    def forecasts(self) -> Forecasts:
        """What one hypergradient would take in other ways too."""
        return self._memory.measured.forecasts

    def _first(self) -> tuple[Rollout, Loop]:
        """The inner run of the recipe and the first seed, with theta_0 in the place of a plain fine-tune."""
        point = self._point(self.start)
        step = self.inner.of(point.rest, 0)
        theta_0 = step.initial().params
        with torch.no_grad():
            floor = self._judging.floor_under(lambda images: step.forward(theta_0, images).logits)
        run = self._rollout(self.inner, 0, point.rest, floor=floor)
        return run, self._bare_loop(run, point, self.inner.initial(run.step, 0))

    def suggestions(self) -> list[dict[str, Any]]:
        """See `metaft.search.problem.careful`."""
        return careful(self.space, self.space.plain(self.start))

    def _rollout(
        self,
        steps: Steps,
        seed: int,
        h: Mapping[str, Any],
        paces: Sequence[float] | None = None,
        floor: Floor | None = None,
    ) -> Rollout:
        """The inner run of a seed, which fixes its fold, its outer and its inner batches."""
        generator, fold = torch.Generator().manual_seed(seed), seed % self.folds
        judged_by = self._judging.drawn(fold, generator)
        return self._begun(steps.of(h, fold), self.inner_batches(generator, paces, fold), judged_by, floor)

    def _begun(self, step: Step, batches: DrawnBatches, judged_by: Judged, floor: Floor | None = None) -> Rollout:
        kept, at_once = floor or self._judging.floor, self._judging.settings.outer_batch_size
        part = max(1, self.batch_size // self.inner.parts) if self._memory.outer_in_parts else None
        return Rollout(step, batches, *judged_by, self.batch_size, at_once, kept, part)

    def _compared(self, outcome: Outcome, seed: int) -> Outcome:
        """The outcome with a value that can be compared between folds, of which some are harder than others."""
        return replace(outcome, value=outcome.value - self._offsets[seed % self.folds])

    @cached_property
    def _offsets(self) -> tuple[float, ...]:
        """By fold, how far the recipe's outer loss is above its mean over the folds; 0 where it is not finite."""
        count = self.folds
        if count == 1:
            return (0.0,)
        recipe = self.space.plain(self.start)
        losses = [self._evaluated(recipe, seed).value for seed in range(count)]
        return (
            tuple(loss - sum(losses) / count for loss in losses) if all(map(math.isfinite, losses)) else (0.0,) * count
        )

    def _loop(self, run: Rollout, point: Point, state: InnerState) -> Loop:
        """The inner loop of one hypergradient."""
        _, footprint = self._memory.measured.ready
        return replace(self._bare_loop(run, point, state), footprint=footprint)

    def _bare_loop(self, run: Rollout, point: Point, state: InnerState) -> Loop:
        step = run.billed(point.rest, self._estimator.products)
        return Loop(step, state, run.batches, point.h, run.outer, outer_part=run.outer_part)

    def outer_batch(self, generator: torch.Generator, fold: int = 0) -> tuple[Tensor, Tensor]:
        """Images and labels of one outer evaluation: a fold's outer set, or a random part of it."""
        images, labels, _ = self._judging.drawn(fold, generator)
        return images, labels

    def inner_batches(
        self, generator: torch.Generator, paces: Sequence[float] | None = None, fold: int = 0
    ) -> DrawnBatches:
        """The batches of one inner run in a fold, T at their own pace or one for each pace given."""
        paces = self.paces if paces is None else paces
        return self._folds[fold].batches.drawn(len(paces), self.batch_size, generator, paces)
