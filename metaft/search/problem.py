"""Fine-tuning as a bi-level problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, Split
from metaft.inner import (
    DEFAULT,
    ESTIMATORS,
    Footprint,
    InnerState,
    Loop,
    Options,
    Plan,
    Step,
    Trace,
    along,
    estimate,
    measure,
)
from metaft.inner.diagnosis import culprit_step, culprit_term, diverged_step
from metaft.objective.batches import DrawnBatches, Reference, TrainBatch, TrainBatches
from metaft.objective.space import Space
from metaft.search.bilevel import Outcome, Report
from metaft.search.outer import OUTER_LOSSES, Floor
from metaft.search.point import Point
from metaft.search.trial import Run


@dataclass(frozen=True)
class Differentiation:
    """How hypergradients are computed: names of `metaft.inner.ESTIMATORS`, and what to call an explosion.

    A derivative d value / d u longer than `explosion` is traced back to a step and a term.
    """

    estimator: str = "unroll"
    storage: str = "auto"
    options: Options = DEFAULT
    explosion: float = 100.0


@dataclass(frozen=True)
class Forecast:
    """What the storage keeps, peak bytes beside the model, and step equivalents of one hypergradient."""

    plan: Plan
    bytes: float
    step_equivalents: float


class FinetuneProblem:
    """T AdamW steps on ID batches from theta_0, judged on the OOD validation set.

    Args:
        step: one inner step.
        classifier: theta_0, with its trained parameters marked; never changed.
        data: what a search may see.
        space: names of terms, `lr` and `wd`.
        start: the recipe in the unit cube [K].
        fixed: what is not searched, by name.
        tokens: caption tokens [C, M, L], or None where no term needs them.
        paces: the factor of the learning rate in each step of the inner loop; as many as there are steps.
        batch_size: of the inner loop.
        warm_start: the moments come from so many steps of the recipe, taken once; theta starts from theta_0 all the
            same.
        outer_loss: a name of OUTER_LOSSES.
        outer_data: the set that judges, `ood_val` or `id_val`.
        outer_batch_size: at most so many of its images in one outer evaluation.
        id_drop_max: by so much (a share) ID validation accuracy may lie below the recipe's; what it lies lower is added
            to the outer loss at a price. None: it may fall.
        differentiation: of the hypergradient.
        device: where it runs.
    """

    def __init__(
        self,
        step: Step,
        classifier: Classifier,
        data: SearchData,
        space: Space,
        start: Tensor,
        *,
        fixed: Mapping[str, float],
        tokens: Tensor | None,
        paces: Sequence[float],
        batch_size: int,
        warm_start: int = 0,
        outer_loss: str,
        outer_data: str = "ood_val",
        outer_batch_size: int,
        id_drop_max: float | None = None,
        differentiation: Differentiation,
        device: torch.device | str = "cpu",
    ) -> None:
        self.space, self.start, self.step, self.steps = space, start, step, len(paces)
        self.batch_size = min(batch_size, len(data.id_train))
        self._outer: Split = getattr(data, outer_data)
        self.outer_batch_size = min(outer_batch_size, len(self._outer))
        self._outer_loss, self.paces = OUTER_LOSSES[outer_loss], tuple(paces)
        self._id_val, self._id_drop_max = data.id_val, id_drop_max
        self._fixed, self._device = dict(fixed), device
        self._batches = TrainBatches(data.id_train, tokens, Reference(classifier, data.id_train, device), device)
        self._warm_start, self._differentiation = warm_start, differentiation
        self._warm: InnerState | None = None
        self._footprint: Footprint | None = None

    def evaluate(self, params: Mapping[str, Any], seed: int, report: Report | None = None) -> Outcome:
        """Run the inner loop without a graph and judge its end.

        Args:
            params: a point in natural units, by name.
            seed: fixes inner and outer batches.
            report: called with (step, outer loss) at half time; True asks to stop there.
        """
        run, h = self._run(seed), {**self._fixed, **params}

        def body() -> Outcome:
            state = self._initial()
            for t, batch in enumerate(run.batches, 1):
                state = self.step.plain(state, batch, h)
                run.count(1.0)
                if report is not None and t == self.steps // 2:
                    halfway = run.judge(state)
                    if report(t, halfway):
                        return run.outcome(halfway, t, "stopped")
            return run.outcome(run.judge(state), self.steps)

        return run.guard(body)

    def hypergradient(self, u: Tensor, seed: int) -> tuple[Outcome, Tensor]:
        """The value at u and its derivative d value / d u, float64 [K] (0 for whole numbers and categories).

        Nothing is clipped or averaged; a run out of memory gives a derivative that is not a number. Where it explodes,
        the outcome's `reason` names the inner step and the term.
        """
        return self._differentiated(u, self._run(seed), self._initial())

    def window(self, u: Tensor, seed: int, state: InnerState, paces: Sequence[float]) -> tuple[Outcome, Tensor]:
        """The same for an inner loop that starts from a state, at a pace for each of its steps."""
        return self._differentiated(u, self._run(seed, paces), state)

    def _differentiated(self, u: Tensor, run: Run, state: InnerState) -> tuple[Outcome, Tensor]:
        point, steps = Point(self.space, u, self._fixed), len(run.batches)
        gradient, trace = torch.full_like(point.u, math.nan), Trace()

        def body() -> Outcome:
            loop = self._loop(run, point, trace, state)
            _, by_name = estimate(
                loop.step, loop.state, loop.batches, loop.h, loop.outer, loop.storage, self._estimator, loop.options
            )
            gradient.copy_(point.pull(by_name))
            run.count(2 / 3 * run.outer_share)
            length = float(gradient.norm())
            sound = math.isfinite(length) and length <= self._differentiation.explosion
            reason = "" if sound else self._explanation(point, loop, trace, length)
            return replace(run.outcome(run.loss, steps), reason=reason)

        return run.guard(body), gradient

    def slope(self, u: Tensor, direction: Tensor, seed: int) -> tuple[Outcome, float]:
        """The value at u and its slope along a direction [K], by forward mode: a check on `hypergradient`."""
        run, point = self._run(seed), Point(self.space, u, self._fixed)
        slopes: list[float] = []

        def body() -> Outcome:
            _, found = along(self._loop(run, point, Trace(), self._initial()), [point.push(direction)])
            slopes.append(float(found[0]))
            run.count(2 / 3 * run.outer_share)
            return run.outcome(run.loss, self.steps)

        return run.guard(body), slopes[0] if slopes else math.nan

    def forecast(self) -> Forecast:
        """What one hypergradient will take, from one step's graph."""
        run = self._run(0)
        loop = self._loop(run, Point(self.space, self.start, self._fixed), Trace(), self._initial())
        plan, cost = loop.plan(), ESTIMATORS[self._estimator].cost(loop)
        return Forecast(plan, loop.footprint().peak(plan, self.steps), cost + run.outer_share)

    @property
    def _estimator(self) -> str:
        return self._differentiation.estimator

    def _run(self, seed: int, paces: Sequence[float] | None = None) -> Run:
        """The inner run of a seed, which fixes its outer and inner batches."""
        generator = torch.Generator().manual_seed(seed)
        images, labels = self.outer_batch(generator)
        batches = self.inner_batches(generator, paces)
        return Run(self.step, batches, images, labels, self._outer_loss, self.batch_size, self._floor)

    @cached_property
    def _floor(self) -> Floor | None:
        """The ID accuracy to keep, from one inner run of the recipe."""
        if self._id_drop_max is None:
            return None
        state, recipe = self._initial(), {**self._fixed, **self.space.plain(self.start)}
        for batch in self.inner_batches(torch.Generator().manual_seed(0)):
            state = self.step.plain(state, batch, recipe)
        images, labels = self._drawn(self._id_val, torch.Generator().manual_seed(0))
        with torch.no_grad():
            logits = self.step.forward(self.step.result(state), images).logits
        return Floor.under(images, labels, logits, self._id_drop_max)

    def _loop(self, run: Run, point: Point, trace: Trace, state: InnerState) -> Loop:
        """The inner loop of one hypergradient."""
        how = self._differentiation
        billed = run.billed(point.rest, products=how.options.iterations + 1)
        if how.storage == "auto" and self._footprint is None:
            with run.once():
                self._footprint = measure(billed, state, run.batches[0], point.h, run.outer)
        options = replace(how.options, footprint=self._footprint, trace=trace)
        return Loop(billed, state, run.batches, point.h, run.outer, how.storage, options)

    def _initial(self) -> InnerState:
        """theta_0 with zero moments, or with those of a warm start."""
        start = self.step.initial()
        if self._warm_start == 0:
            return start
        if self._warm is None:
            recipe, warm = {**self._fixed, **self.space.plain(self.start)}, start
            for batch in self._batches.drawn(self._warm_start, self.batch_size, torch.Generator().manual_seed(0)):
                warm = self.step.plain(warm, batch, recipe)
            self._warm = warm
        return self._warm._replace(params=start.params, extra=start.extra)

    def _explanation(self, point: Point, loop: Loop, trace: Trace, length: float) -> str:
        """Which step and which term made a hypergradient explode, by another sweep."""
        diverged = diverged_step(loop.step, loop.state, loop.batches, loop.h)
        if diverged is not None:
            return f"the inner loop diverged at step {diverged} of {self.steps}"
        what = f"hypergradient of length {length:.3g}"
        if not trace.lengths:
            return f"{what}; {self._estimator} goes through no steps backwards, so none can be named"
        guilty, h = culprit_step(trace), {**point.rest, **point.h}
        if guilty is None:
            return f"{what}, from the outer loss"
        terms = []

        def look(t: int, state: InnerState, batch: TrainBatch, adjoint: InnerState) -> None:
            if t == guilty:
                terms.append((state.step - loop.state.step + 1, culprit_term(self.step, state, batch, h, adjoint)))

        options = replace(loop.options, trace=Trace(link=look))
        estimate(loop.step, loop.state, loop.batches, loop.h, loop.outer, loop.storage, self._estimator, options)
        number, term = terms[0]
        return f"{what}, from inner step {number} of {self.steps}, term {term}"

    def outer_batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and labels of one outer evaluation: the outer set, or a random part of it."""
        return self._drawn(self._outer, generator)

    def _drawn(self, split: Split, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(split), generator=generator)[: self.outer_batch_size]
        batch = split.batch(rows.sort().values, self._device)
        return batch.images, batch.labels

    def inner_batches(self, generator: torch.Generator, paces: Sequence[float] | None = None) -> DrawnBatches:
        """The batches of one inner run, T at their own pace or one for each pace given."""
        paces = self.paces if paces is None else paces
        return self._batches.drawn(len(paces), self.batch_size, generator, paces)
