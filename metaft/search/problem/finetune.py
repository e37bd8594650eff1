"""Fine-tuning as a bi-level problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HypergradConfig
from metaft.inner.diagnosis import explanation
from metaft.inner.forward import along
from metaft.inner.loop import Estimator, Footprint, Loop
from metaft.inner.registry import ESTIMATORS
from metaft.inner.state import InnerState
from metaft.inner.step import Step
from metaft.inner.storage import footprint_of, planned
from metaft.names import ALPHA, HEAD, OOD_VAL, source_name
from metaft.objective.heads import ZERO_SHOT
from metaft.progress import note
from metaft.search.bilevel import Forecast, Report
from metaft.search.outcome import MIXES, Outcome
from metaft.search.problem.judging import Judging
from metaft.search.problem.outer import Floor
from metaft.search.problem.point import Point
from metaft.search.problem.rollout import Rollout
from metaft.search.problem.runs import InnerRuns
from metaft.search.rates import at_rates
from metaft.space import Float, Space
from metaft.training.batches import DrawnBatches

# Trains on ood_val as much as on id_train, keeps to theta_0's predictions as to labels, goes a fifth of the way.
CAREFUL = {source_name(OOD_VAL): 1.0, "kd": 1.0, ALPHA: 0.2}
SLOWER = 1 / 3  # times the recipe's learning rates, which a short inner loop raises (see `inner.stretch`)


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
        self.space, self.start, self.step = space, start, runs.step
        self.paces, self.steps = runs.paces, len(runs.paces)
        self._folds, self._final, self._steps = runs.folds, runs.final, dict[tuple[str, int], Step]()
        self.batch_size = min(runs.batch_size, len(runs.folds[0].batches.split))
        self._judging, self._fixed = judging, dict(fixed)
        self._warm_start, self._warmed = runs.warm_start, dict[int, InnerState]()
        self._hypergrad = hypergrad
        self._estimator: Estimator = ESTIMATORS[hypergrad.estimator].make(hypergrad)

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
        run = self._rollout(seed, h)

        def body() -> Outcome:
            state = self._initial(run.step, seed)
            for t, batch in enumerate(run.batches, 1):
                state = run.step.plain(state, batch, h)
                run.count_steps(1.0)
                if report is not None and t == self.steps // 2:
                    halfway = run.judge(state)
                    if report(t, halfway):
                        return run.outcome(halfway, t, "stopped")
            return run.outcome(run.judge(state), self.steps)

        return run.guard(body)

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
        fold, step, paces = self._folds[number], self.step_of(h, number), self._final.paces(share)
        as_final = replace(fold.batches, augment=self._final.augment)
        batches = as_final.drawn(len(paces), self.batch_size, torch.Generator().manual_seed(seed), paces)
        run = Rollout(step, batches, *self._judging.whole(number), self.batch_size, self._judging.floor)
        shares = self._shares if ALPHA in params else ()
        whole = {**h, ALPHA: 1.0} if shares else h

        def body() -> Outcome:
            state = step.initial()
            for batch in batches:
                state = step.plain(state, batch, whole)
                run.count_steps(1.0)
            ends = [step.mixed(state, alpha * share**-0.5) for alpha in shares] or [state]
            outcomes = [run.outcome(run.judge(end), len(paces)) for end in ends]
            values = {alpha: outcome.value for alpha, outcome in zip(shares, outcomes, strict=False)}
            bill = {name: getattr(outcomes[-1], name) for name in ("step_equivalents", "seconds")}
            mixes = tuple(values.get(alpha, math.inf) for alpha in MIXES) if values else ()
            return replace(min(outcomes, key=lambda o: o.value), **bill, mixes=mixes)

        return run.guard(body)

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
        run = self._rollout(seed, point.rest)
        outcome, gradient = self._differentiated(point, run, self._initial(run.step, seed))
        return self._compared(outcome, seed), gradient

    def window(self, u: Tensor, seed: int, state: InnerState, paces: Sequence[float]) -> tuple[Outcome, Tensor]:
        """As `hypergradient`, for an inner loop that starts from a state, with a pace for each of its steps."""
        point = self._point(u)
        return self._differentiated(point, self._rollout(seed, point.rest, paces), state)

    def _point(self, u: Tensor) -> Point:
        return Point(self.space, u, self._fixed)

    def _differentiated(self, point: Point, run: Rollout, state: InnerState) -> tuple[Outcome, Tensor]:
        steps = len(run.batches)
        gradient = torch.full_like(point.u, math.nan)

        def body() -> Outcome:
            loop = self._loop(run, point, state)
            estimator, _ = self._ready
            _, by_name = estimator(loop)
            gradient.copy_(point.pull(by_name))
            run.count(2 / 3 * run.outer_share)
            length = float(gradient.norm())
            sound = math.isfinite(length) and length <= self._hypergrad.explosion
            h = {**point.rest, **point.h}
            reason = "" if sound else explanation(estimator, loop, run.step, h, length)
            return replace(run.outcome(run.loss, steps), reason=reason)

        return run.guard(body), gradient

    def slope(self, u: Tensor, direction: Tensor, seed: int) -> tuple[Outcome, float]:
        """The value at u and its slope along a direction [K], by forward mode: a check on `hypergradient`."""
        point = self._point(u)
        run = self._rollout(seed, point.rest)
        slopes: list[float] = []

        def body() -> Outcome:
            _, (slope,) = along(self._loop(run, point, self._initial(run.step, seed)), [point.push(direction)])
            slopes.append(float(slope))
            run.count(2 / 3 * run.outer_share)
            return run.outcome(run.loss, self.steps)

        return self._compared(run.guard(body), seed), slopes[0] if slopes else math.nan

    def forecast(self) -> Forecast:
        """What one hypergradient will take, from one step's graph, which is built once."""
        return self._forecast

    @cached_property
    def _forecast(self) -> Forecast:
        run, loop = self._first
        estimator = self._estimator.picked(loop)
        footprint = footprint_of(loop, graphs=estimator.graphs)
        loop = replace(loop, footprint=footprint)
        cost, name = estimator.cost(loop) * run.step_share + run.outer_share, self._estimator.described(loop)
        swept = estimator.swept(loop)
        if swept is None:  # the state has a tangent for each number that is differentiated by
            return Forecast(cost, (1 + sum(x.numel() for x in loop.h.values())) * footprint.state, 0, name)
        plan = planned(swept, self._hypergrad, graphs=estimator.graphs)
        return Forecast(cost, plan.peak(footprint, len(swept.batches)), plan.graphs, name)

    @property
    def _first(self) -> tuple[Rollout, Loop]:
        """The inner run of the recipe and the first seed, with theta_0 in the place of a plain fine-tune."""
        point = self._point(self.start)
        step = self.step_of(point.rest, 0)
        theta_0 = step.initial().params
        with torch.no_grad():
            floor = self._judging.floor_under(lambda images: step.forward(theta_0, images).logits)
        run = self._rollout(0, point.rest, floor=floor)
        return run, self._bare_loop(run, point, self._initial(run.step, 0))

    def suggestions(self) -> list[dict[str, Any]]:
        """The recipe from every head, slower and with what of `CAREFUL` is searched; none where there is no choice."""
        recipe = self.space.plain(self.start)
        careful = {name: value for name, value in CAREFUL.items() if name in recipe}
        heads = [choice for d in self.space if d.name == HEAD for choice in getattr(d, "choices", ())]
        if source_name(OOD_VAL) not in recipe and not heads:
            return []
        slower = (at_rates(self.space, {**recipe, **careful}, [SLOWER]) or [{**recipe, **careful}])[0]
        points = [{**slower, **({HEAD: head} if heads else {})} for head in heads or [None]]
        return [self.space.plain(self.space.to_unit(point)) for point in points]

    def _rollout(
        self, seed: int, h: Mapping[str, Any], paces: Sequence[float] | None = None, floor: Floor | None = None
    ) -> Rollout:
        """The inner run of a seed, which fixes its fold, its outer and its inner batches."""
        generator, fold = torch.Generator().manual_seed(seed), seed % self.folds
        judged_by = self._judging.drawn(fold, generator)
        batches, step = self.inner_batches(generator, paces, fold), self.step_of(h, fold)
        return Rollout(step, batches, *judged_by, self.batch_size, floor or self._judging.floor)

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

    def step_of(self, h: Mapping[str, Any], fold: int) -> Step:
        """The inner step from the head that a point names."""
        head = h.get(HEAD, ZERO_SHOT)
        if (head, fold) not in self._steps:
            self._steps[head, fold] = self.step.begun_at(self._folds[fold].head(head))
        return self._steps[head, fold]

    def _loop(self, run: Rollout, point: Point, state: InnerState) -> Loop:
        """The inner loop of one hypergradient."""
        _, footprint = self._ready
        return replace(self._bare_loop(run, point, state), footprint=footprint)

    def _bare_loop(self, run: Rollout, point: Point, state: InnerState) -> Loop:
        step = run.billed(point.rest, self._estimator.products)
        return Loop(step, state, run.batches, point.h, run.outer)

    @cached_property
    def _ready(self) -> tuple[Estimator, Footprint | None]:
        """The estimator with what it measures once, and a loop's bytes where it depends on them what is kept.

        Both are of the first loop, and on no run's bill.
        """
        _, loop = self._first
        settled = self._estimator.settled(loop)
        if settled != self._estimator:
            note(f"hypergradients: {settled}")
        return settled, footprint_of(loop, graphs=settled.graphs) if self._hypergrad.storage == "auto" else None

    def _initial(self, step: Step, seed: int) -> InnerState:
        """Where the step of a seed's run begins, with zero moments, or with those of a warm start in its fold."""
        start = step.initial()
        if self._warm_start == 0:
            return start
        return replace(self._warm(seed % self.folds), params=start.params, extra=start.extra)

    def _warm(self, fold: int) -> InnerState:
        """The state after the steps of a warm start in a fold."""
        if fold not in self._warmed:
            recipe = {**self._fixed, **self.space.plain(self.start)}
            step, generator = self.step_of(recipe, fold), torch.Generator().manual_seed(0)
            state = step.initial()
            for batch in self._folds[fold].batches.drawn(self._warm_start, self.batch_size, generator):
                state = step.plain(state, batch, recipe)
            self._warmed[fold] = state
        return self._warmed[fold]

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
