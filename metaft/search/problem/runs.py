"""What the inner loops of a problem train on, what judges them, and the fine-tune that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from metaft.data.types import Split
from metaft.inner.step import Step
from metaft.training.augment import Augment
from metaft.training.batches import TrainBatches
from metaft.training.schedule import warmup_cosine

HeadOf = Callable[[str], Mapping[str, Tensor]]  # from a head's name to its parameters by name


@dataclass(frozen=True)
class InnerFold:
    """What an inner loop trains on, and the images that judge its end, none of which it has seen.

    Args:
        batches: of id_train and of every further source, the fitting part of ood_val among them.
        judging: the outer set.
        head: gives the parameters with which a head (see `metaft.objective.heads`) begins in place of theta_0's, by
            name; no image of `judging` was trained on for them.
    """

    batches: TrainBatches
    judging: Split
    head: HeadOf = lambda name: {}


@dataclass(frozen=True)
class FinalRun:
    """The final fine-tune: its length in steps, the share of them over which its rate rises, and its augmentation."""

    steps: int
    warmup: float
    augment: Augment | None = None

    def paces(self, share: float) -> list[float]:
        """The factors of the learning rate in a fine-tune of a share of its length, at least one step."""
        steps = max(1, round(share * self.steps))
        return [warmup_cosine(t, steps, self.warmup) for t in range(steps)]


@dataclass(frozen=True)
class InnerRuns:
    """The inner loops of a problem.

    Args:
        step: one inner step, from theta_0.
        folds: each inner run takes one of them, by its seed.
        final: the fine-tune that an inner loop stands for.
        batch_size: of the inner loop.
        paces: the factor of the learning rate in each step; as many as there are steps.
        warm_start: the number of steps of the recipe, taken once, whose moments a run begins with; theta starts from
            theta_0 all the same.
    """

    step: Step
    folds: tuple[InnerFold, ...]
    final: FinalRun
    batch_size: int
    paces: tuple[float, ...]
    warm_start: int = 0
