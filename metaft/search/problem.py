"""Fine-tuning as a bi-level problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.inner import DEFAULT, Footprint, InnerState, Loop, Options, Plan, Step, Trace, along, estimate, measure
from metaft.inner.diagnosis import culprit_step, culprit_term, diverged_step
from metaft.metrics import accuracy
from metaft.objective.batches import DrawnBatches, Reference, TrainBatch, TrainBatches
from metaft.objective.space import Space
from metaft.search.bilevel import Outcome, Report, Status
from metaft.search.outer import OUTER_LOSSES

REVERSE_SWEEP = 2.0  # step equivalents of differentiating one inner step, beside the step itself


@dataclass(frozen=True)
class Differentiation:
    """How hypergradients are computed: names of `metaft.inner.ESTIMATORS`, and what to call an explosion.

    A derivative d value / d u longer than `explosion` is traced back to a step and a term.
    """

    estimator: str = "unroll"
    storage: str = "auto"
    options: Options = DEFAULT
    explosion: float = 100.0


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
        steps, batch_size: of the inner loop.
        warm_start: the moments come from so many steps of the recipe, taken once; theta starts from theta_0 all the
            same.
        outer_loss: a name of OUTER_LOSSES.
        outer_batch_size: at most so many validation images in one outer evaluation.
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
        steps: int,
        batch_size: int,
        warm_start: int = 0,
        outer_loss: str,
        outer_batch_size: int,
        differentiation: Differentiation,
        device: torch.device | str = "cpu",
    ) -> None:
        self.space, self.start, self.step, self.steps = space, start, step, steps
        self.batch_size = min(batch_size, len(data.id_train))
        self.outer_batch_size = min(outer_batch_size, len(data.ood_val))
        self.outer_loss = OUTER_LOSSES[outer_loss].function
        self.reference = Reference(classifier, data.id_train, device)
        self._ood_val, self._fixed, self._device = data.ood_val, dict(fixed), device
        self._batches = TrainBatches(data.id_train, tokens, self.reference, device)
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
        run, h = _Run(self, seed), {**self._fixed, **params}

        def body() -> Outcome:
            state = self._initial(run)
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
        run, point = _Run(self, seed), _Point(self.space, u, self._fixed)
        gradient, trace = torch.full_like(point.u, math.nan), Trace()

        def body() -> Outcome:
            loop = self._loop(run, point, trace)
            value, by_name = estimate(
                loop.step, loop.state, loop.batches, loop.h, loop.outer, loop.storage, self._estimator, loop.options
            )
            gradient.copy_(point.pull(by_name))
            run.count(2 / 3 * run.outer_share)
            outcome = run.outcome(float(value), self.steps)
            length = float(gradient.norm())
            if math.isfinite(length) and length <= self._differentiation.explosion:
                return outcome
            return replace(outcome, reason=self._explanation(run, point, loop, trace, length))

        return run.guard(body), gradient

    def slope(self, u: Tensor, direction: Tensor, seed: int) -> tuple[Outcome, float]:
        """The value at u and its slope along a direction [K], by forward mode: a check on `hypergradient`."""
        run, point = _Run(self, seed), _Point(self.space, u, self._fixed)
        slopes: list[float] = []

        def body() -> Outcome:
            value, found = along(self._loop(run, point, Trace()), [point.push(direction)])
            slopes.append(float(found[0]))
            run.count(2 / 3 * run.outer_share)
            return run.outcome(float(value), self.steps)

        return run.guard(body), slopes[0] if slopes else math.nan

    def plan(self) -> tuple[Plan, float]:
        """What the storage keeps of the inner loop, and the bytes that a hypergradient needs beside the model."""
        loop = self._loop(_Run(self, 0), _Point(self.space, self.start, self._fixed), Trace())
        found = measure(loop.step, loop.state, loop.batches[0], loop.h, loop.outer)
        plan = loop.plan()
        return plan, found.peak(plan, self.steps)

    @property
    def _estimator(self) -> str:
        return self._differentiation.estimator

    def _loop(self, run: _Run, point: _Point, trace: Trace) -> Loop:
        """The inner loop of one hypergradient."""
        how, state = self._differentiation, self._initial(run)
        billed = _Billed(self.step, point.rest, run.count, products=how.options.iterations + 1)
        if how.storage == "auto" and self._footprint is None:
            self._footprint = measure(billed, state, run.batches[0], point.h, run.outer)
        options = replace(how.options, footprint=self._footprint, trace=trace)
        return Loop(billed, state, run.batches, point.h, run.outer, how.storage, options)

    def _initial(self, run: _Run) -> InnerState:
        """theta_0 with zero moments, or with those of a warm start."""
        start = self.step.initial()
        if self._warm_start == 0:
            return start
        if self._warm is None:
            recipe, warm = {**self._fixed, **self.space.plain(self.start)}, start
            for batch in self._batches.drawn(self._warm_start, self.batch_size, torch.Generator().manual_seed(0)):
                warm = self.step.plain(warm, batch, recipe)
                run.count(1.0)
            self._warm = warm
        return self._warm._replace(params=start.params)

    def _explanation(self, run: _Run, point: _Point, loop: Loop, trace: Trace, length: float) -> str:
        """Which step and which term made a hypergradient explode, by another sweep."""
        h = {**point.rest, **{name: float(x) for name, x in point.h.items()}}
        diverged = diverged_step(self.step, loop.state, loop.batches, h)
        if diverged is not None:
            return f"the inner loop diverged at step {diverged} of {self.steps}"
        what = f"hypergradient of length {length:.3g}"
        guilty = culprit_step(trace)
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
        """Images and labels of one outer evaluation: the validation set, or a random part of it."""
        rows = torch.randperm(len(self._ood_val), generator=generator)[: self.outer_batch_size]
        batch = self._ood_val.batch(rows.sort().values, self._device)
        return batch.images, batch.labels

    def inner_batches(self, generator: torch.Generator) -> DrawnBatches:
        """The T batches of one inner run."""
        return self._batches.drawn(self.steps, self.batch_size, generator)


class _Point:
    """A point of the unit cube: `h`, what is differentiated, in natural units; `rest`, what is not."""

    def __init__(self, space: Space, u: Tensor, fixed: Mapping[str, float]) -> None:
        self.u = u.detach().double()
        self._leaf = self.u.clone().requires_grad_()
        natural = space.from_unit(self._leaf)
        self._graph = {name: value for name, value in natural.items() if isinstance(value, Tensor)}
        self.h = {name: value.detach() for name, value in self._graph.items()}
        self.rest = {**fixed, **{name: value for name, value in natural.items() if name not in self.h}}
        self._names = space.names

    @cached_property
    def _rates(self) -> Tensor:
        """d h_k / d u_k [K]; 0 where there is none. Every dimension depends on its own coordinate alone."""
        (rates,) = torch.autograd.grad(
            list(self._graph.values()), self._leaf, [torch.ones_like(x) for x in self.h.values()]
        )
        return rates

    def pull(self, by_name: Mapping[str, Tensor]) -> Tensor:
        """d value / d u [K] from d value / d h."""
        zero = self._rates.new_zeros(())
        return self._rates * torch.stack([by_name[n].to(zero) if n in by_name else zero for n in self._names])

    def push(self, direction: Tensor) -> dict[str, float]:
        """A direction in h, by name, from one in u [K]."""
        moved = dict(zip(self._names, (self._rates * direction).tolist(), strict=True))
        return {name: moved[name] for name in self.h}


class _Billed:
    """The step with what is fixed filled in, each call on the bill."""

    def __init__(self, step: Step, rest: Mapping[str, Any], count: Callable[[float], None], products: int) -> None:
        self._step, self._rest, self._count, self._products = step, rest, count, products

    def __call__(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Tensor]) -> InnerState:
        self._count(1.0 + REVERSE_SWEEP)
        return self._step(state, batch, {**self._rest, **h})

    def plain(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        self._count(1.0)
        return self._step.plain(state, batch, {**self._rest, **h})

    def loss(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> Tensor:
        self._count(1.0 + REVERSE_SWEEP * self._products)
        return self._step.loss(params, batch, {**self._rest, **h})


class _Run:
    """One inner run: its batches, its outer loss and its bill."""

    def __init__(self, problem: FinetuneProblem, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._problem = problem
        self._images, self._labels = problem.outer_batch(generator)
        self.batches = problem.inner_batches(generator)
        self.outer_share = problem.outer_batch_size / problem.batch_size
        self._start, self._seen = time.perf_counter(), problem.reference.images_seen
        self._cost, self._metric = 0.0, 0.0

    def outer(self, state: InnerState) -> Tensor:
        """The outer loss of a state; counts a forward and notes the accuracy."""
        logits = self._problem.step.forward(state.params, self._images).logits
        self._metric = accuracy(logits.detach(), self._labels)
        self.count(self.outer_share / 3)
        return self._problem.outer_loss(logits, self._labels)

    @torch.no_grad()
    def judge(self, state: InnerState) -> float:
        """The outer loss of a state as a number."""
        return float(self.outer(state))

    def count(self, step_equivalents: float) -> None:
        """Add to the bill."""
        self._cost += step_equivalents

    def guard(self, body: Callable[[], Outcome]) -> Outcome:
        """Run a body; memory that runs out becomes an outcome instead of an exception."""
        try:
            return body()
        except torch.OutOfMemoryError:
            return self.outcome(math.inf, 0, "oom")

    def outcome(self, loss: float, steps: int, status: Status = "ok") -> Outcome:
        """How the run ended, with its bill: steps, outer evaluations, and theta_0's forwards for distillation."""
        if status == "ok" and not math.isfinite(loss):
            status = "diverged"
        forwards = (self._problem.reference.images_seen - self._seen) / self._problem.batch_size / 3
        return Outcome(
            loss=loss,
            metric=self._metric,
            value=loss if status in ("ok", "stopped") else math.inf,
            steps=steps,
            step_equivalents=self._cost + forwards,
            seconds=time.perf_counter() - self._start,
            status=status,
        )
