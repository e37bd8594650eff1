"""One inner run: its batches, its outer loss and its bill.

A bill is the same however often a run is repeated: what is done once for all runs of a problem (theta_0's outputs for
distillation, moments of a warm start, the bytes of a step's graph, the spacing of `differences`) is on no bill.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from metaft import ranks
from metaft.errors import first_line
from metaft.inner.loop import Part
from metaft.inner.state import InnerState
from metaft.inner.step import Step
from metaft.search.outcome import Outcome, Status
from metaft.search.problem.outer import Floor, Judgement
from metaft.shards import Whole
from metaft.training.batches import DrawnBatches, TrainBatch

REVERSE_SWEEP = 2.0  # step equivalents of differentiating one inner step, beside the step itself


class Rollout:
    """An inner run and what it costs, in inner steps.

    Args:
        step: one inner step.
        batches: one per step.
        images, labels: the outer batch.
        judgement: the outer loss on the outer batch.
        batch_size: of the inner loop, in which costs are counted.
        at_once: how many images go through the model together where nothing is differentiated.
        floor: the ID accuracy to keep, where one is set.
        part: how many images' graph is in memory at once, computed again as it is differentiated; None: all.
    """

    def __init__(
        self,
        step: Step,
        batches: DrawnBatches,
        images: Tensor,
        labels: Tensor,
        judgement: Judgement,
        batch_size: int,
        at_once: int,
        floor: Floor | None = None,
        part: int | None = None,
    ) -> None:
        self.batches, self._batch_size = batches, batch_size
        self.outer_share = (len(images) + (0 if floor is None else len(floor.images))) / batch_size
        self.step_share = batches.images / batch_size
        self.step, self._images, self._labels, self._judgement = step, images, labels, judgement
        self._floor, self._at_once, self._part = floor, at_once, part
        self._start = time.perf_counter()
        self._cost, self._metric = 0.0, 0.0
        self.loss = math.inf

    def outer(self, state: InnerState) -> Tensor:
        """The smooth loss [] of a state; bills a forward pass, and sets the metric and, as `loss`, the outer loss."""
        logits = self._logits(state, self._images)
        self._metric = self._judgement.metric(logits.detach(), self._labels)
        self.loss = float(self._judgement.function(logits.detach(), self._labels))
        self.count(self.outer_share / 3)
        smooth = self._judgement.smooth(logits, self._labels)
        if self._floor is None:
            return smooth
        kept = self._logits(state, self._floor.images)
        self.loss += self._floor.cost(kept.detach())
        return smooth + self._floor.smooth(kept)

    def _logits(self, state: InnerState, images: Tensor) -> Tensor:
        """Logits [B, C] of a state, by parts of the images where they are many."""
        params = self.step.result(state)
        if not torch.is_grad_enabled():
            return torch.cat([self._logits_of(params, part) for part in images.split(self._at_once)])
        if not self._in_parts(images):
            return self._logits_of(params, images)
        parts = images.split(self._part or len(images))
        with set_checkpoint_early_stop(False):  # which raises through what is compiled
            return torch.cat([checkpoint(self._logits_of, params, part, use_reentrant=False) for part in parts])

    def _in_parts(self, images: Tensor) -> bool:
        """Whether the graph of some images is built a part at a time, again as it is differentiated."""
        return self._part is not None and self._part < len(images)

    @property
    def outer_sweep(self) -> float:
        """The step equivalents of differentiating the outer loss, with forward passes that are taken again for it."""
        sets = [self._images, *([] if self._floor is None else [self._floor.images])]
        again = sum(len(images) for images in sets if self._in_parts(images)) / self._batch_size
        return REVERSE_SWEEP / 3 * self.outer_share + again / 3

    def _logits_of(self, params: Sequence[Tensor], images: Tensor) -> Tensor:
        return self.step.forward(params, images).logits

    def outer_part(self, state: InnerState) -> Tensor | None:
        """Logits [B, C] whose graph is built again as the outer loss is differentiated; None: all are kept."""
        sets = [self._images, *([] if self._floor is None else [self._floor.images])]
        images = max(sets, key=len)
        if not self._in_parts(images):
            return None
        return self._logits_of(self.step.result(state), images[: self._part])

    @torch.no_grad()
    def judge(self, state: InnerState) -> float:
        """The outer loss of a state as a number."""
        self.outer(state)
        return self.loss

    def billed(self, rest: Mapping[str, Any], products: int) -> BilledStep:
        """The step with the values `rest` filled in, which are not differentiated; its calls are billed to this run."""
        return BilledStep(self.step, rest, self.count_steps, products)

    def count_steps(self, steps: float) -> None:
        """Add the cost of steps to the bill, in which the images of every source count."""
        self.count(steps * self.step_share)

    def count(self, step_equivalents: float) -> None:
        """Add step equivalents to the bill."""
        self._cost += step_equivalents

    def guard(self, body: Callable[[], Outcome]) -> Outcome:
        """Run a body; memory that runs out becomes an outcome instead of an exception."""
        try:
            return body()
        except Exception as error:
            if not ranks.out_of_own_memory(error):
                raise
            return replace(self.outcome(math.inf, 0, "oom"), reason=f"out of memory ({first_line(error)})")

    def outcome(self, loss: float, steps: int, status: Status = "ok") -> Outcome:
        """The outcome of the run, with its bill so far; a loss that is not finite means that it diverged."""
        if status in ("ok", "stopped") and not math.isfinite(loss):
            status = "diverged"
        return Outcome(
            loss=loss,
            metric=self._metric,
            value=loss if status in ("ok", "stopped") else math.inf,
            steps=steps,
            step_equivalents=self._cost,
            seconds=time.perf_counter() - self._start,
            status=status,
        )


class BilledStep:
    """The inner step as estimators call it; each call is billed.

    `products` is how many second-order products follow one call of `loss`.
    """

    def __init__(self, step: Step, rest: Mapping[str, Any], count: Callable[[float], None], products: int) -> None:
        self._step, self._rest, self._count, self._products = step, rest, count, products

    def __call__(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Tensor]) -> InnerState:
        """The next state, differentiable; differentiating it once is billed with it."""
        self._count(1.0 + REVERSE_SWEEP)
        return self._step(state, batch, {**self._rest, **h})

    def plain(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state, detached."""
        self._count(1.0)
        return self._step.plain(state, batch, {**self._rest, **h})

    @property
    def layout(self) -> Whole:
        """How tensors of states are held."""
        return self._step.layout

    @property
    def precision(self) -> float:
        """The relative precision of a forward pass."""
        return self._step.precision

    @property
    def precise(self) -> BilledStep:
        """The step whose forward pass has the precision of its parameters."""
        precise = self._step.precise
        return self if precise is self._step else BilledStep(precise, self._rest, self._count, self._products)

    def parts(self, batch: TrainBatch) -> list[Part]:
        """The parts of a batch; outputs of all of them are billed as a plain step."""
        return [self._billed(part) for part in self._step.parts(batch)]

    def _billed(self, part: Part) -> Part:
        def outputs(params: Sequence[Tensor]) -> list[Tensor]:
            self._count(part.share)
            return part.outputs(params)

        def loss(outputs: Sequence[Tensor], h: Mapping[str, Any]) -> Tensor:
            return part.loss(outputs, {**self._rest, **h})

        return Part(part.share, outputs, loss)

    def moved(
        self, state: InnerState, grads: Sequence[Tensor | None], batch: TrainBatch, h: Mapping[str, Any]
    ) -> InnerState:
        """The next state from these gradients, at no cost that counts."""
        return self._step.moved(state, grads, batch, {**self._rest, **h})

    def dual(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state of dual numbers, twice the work of a plain one."""
        self._count(2.0)
        return self._step.dual(state, batch, {**self._rest, **h})

    def loss(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> Tensor:
        """The inner loss []; its gradient and the products are billed with it."""
        self._count(1.0 + REVERSE_SWEEP * self._products)
        return self._step.loss(params, batch, {**self._rest, **h})
