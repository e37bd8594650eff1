"""Fine-tuning as a bi-level problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.inner import InnerState, Step, estimate
from metaft.metrics import accuracy
from metaft.objective import WeightedLoss
from metaft.objective.batches import Reference, TrainBatch, TrainBatches
from metaft.objective.space import Space
from metaft.search.bilevel import Outcome, Report, Status
from metaft.search.outer import OUTER_LOSSES

REVERSE_SWEEP = 2.0  # step equivalents of differentiating one inner step, beside the step itself


class FinetuneProblem:
    """T AdamW steps on ID batches from theta_0, judged on the OOD validation set.

    Args:
        classifier: theta_0, with its trained parameters marked; never changed.
        data: what a search may see.
        space: names of terms, `lr` and `wd`.
        start: the recipe in the unit cube [K].
        loss: the weighted sum of terms.
        fixed: term weights that are not searched.
        tokens: caption tokens [C, M, L], or None where no term needs them.
        steps, batch_size, betas, eps: of the inner loop.
        outer_loss: a name of OUTER_LOSSES.
        outer_batch_size: at most so many validation images in one outer evaluation.
        estimator, storage: of the hypergradient.
        device: where it runs.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: SearchData,
        space: Space,
        start: Tensor,
        *,
        loss: WeightedLoss,
        fixed: Mapping[str, float],
        tokens: Tensor | None,
        steps: int,
        batch_size: int,
        betas: tuple[float, float],
        eps: float,
        outer_loss: str,
        outer_batch_size: int,
        estimator: str = "unroll",
        storage: str = "keep",
        device: torch.device | str = "cpu",
    ) -> None:
        self.space, self.start, self.steps = space, start, steps
        self.step = Step(classifier, loss, betas, eps)
        self.batch_size = min(batch_size, len(data.id_train))
        self.outer_batch_size = min(outer_batch_size, len(data.ood_val))
        self.outer_loss = OUTER_LOSSES[outer_loss].function
        self.reference = Reference(classifier, data.id_train, device)
        self._ood_val, self._fixed, self._device = data.ood_val, dict(fixed), device
        self._batches = TrainBatches(data.id_train, tokens, self.reference, device)
        self._estimator, self._storage = estimator, storage

    def evaluate(self, params: Mapping[str, Any], seed: int, report: Report | None = None) -> Outcome:
        """Run the inner loop without a graph and judge its end.

        Args:
            params: a point in natural units, by name.
            seed: fixes inner and outer batches.
            report: called with (step, outer loss) at half time; True asks to stop there.
        """
        run, h = _Run(self, seed), {**self._fixed, **params}

        def body() -> Outcome:
            state = self.step.initial()
            for t, batch in enumerate(run.batches, 1):
                state = self.step(state, batch, h, differentiable=False)
                run.count(1.0)
                if report is not None and t == self.steps // 2:
                    halfway = run.judge(state)
                    if report(t, halfway):
                        return run.outcome(halfway, t, "stopped")
            return run.outcome(run.judge(state), self.steps)

        return run.guard(body)

    def hypergradient(self, u: Tensor, seed: int) -> tuple[Outcome, Tensor]:
        """The value at u and its derivative d value / d u, float64 [K] (0 for whole numbers and categories).

        Nothing is clipped or averaged; a run out of memory gives a derivative that is not a number.
        """
        u = u.detach().double().requires_grad_()
        natural = self.space.from_unit(u)
        h = {name: value for name, value in natural.items() if isinstance(value, Tensor)}
        rest = {**self._fixed, **{name: value for name, value in natural.items() if name not in h}}
        gradient = torch.full_like(u, math.nan)
        run = _Run(self, seed)

        def step(state: InnerState, batch: TrainBatch, leaves: Mapping[str, Tensor]) -> InnerState:
            run.count(1.0 + REVERSE_SWEEP)
            return self.step(state, batch, {**rest, **leaves})

        def body() -> Outcome:
            start = self.step.initial()
            value, by_name = estimate(step, start, run.batches, h, run.outer, self._storage, self._estimator)
            (d_u,) = torch.autograd.grad(list(h.values()), u, [by_name[name] for name in h])
            gradient.copy_(d_u)
            run.count(2 / 3 * run.outer_share)
            return run.outcome(float(value), self.steps)

        return run.guard(body), gradient.detach()

    def outer_batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and labels of one outer evaluation: the validation set, or a random part of it."""
        rows = torch.randperm(len(self._ood_val), generator=generator)[: self.outer_batch_size]
        batch = self._ood_val.batch(rows.sort().values, self._device)
        return batch.images, batch.labels

    def inner_batches(self, generator: torch.Generator) -> islice[TrainBatch]:
        """The T batches of one inner run."""
        return islice(self._batches.stream(self.batch_size, generator), self.steps)


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
