"""What every fine-tuning method is given beside the classifier and the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.config.schema import AdamWConfig, FinetuneConfig
from metaft.cost import Cost
from metaft.inner.state import InnerState
from metaft.objective.objective import Objective

Steer = Callable[[int, int, Callable[[], InnerState]], Objective]  # from steps done, steps in all, the state
Log = Callable[[dict[str, Any]], None]  # takes one event a call, as plain values


class Keeper(Protocol):
    """Where the state of a training goes at each check, so that it can be taken up again."""

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved last under a name."""
        ...

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write or copy a state of tensors and plain values, in the place of the last one."""
        ...


class Forgetful:
    """A keeper that keeps nothing."""

    def load(self, name: str) -> None:
        """Nothing."""

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Nowhere."""


def _unlogged(event: dict[str, Any]) -> None:
    """Keep no log."""


def _none_fitted(name: str) -> Classifier:
    raise KeyError(f"no method {name!r} has been fitted")


@dataclass(frozen=True)
class FitSettings:
    """The settings of a fit: nothing comes out of them.

    Args:
        plain: plain fine-tuning's objective (cross-entropy alone).
        learned: the objective a search has settled on, where there is one.
        finetune: batch size, warm-up and what is set for methods.
        optimizer: AdamW's constants.
        steps: optimizer steps, the same for every method whatever the number of its images.
        checks: how often on the way ID validation is looked at.
        penalty_scale: see `metaft.objective.weighted.WeightedLoss`.
        freeze: patterns of parameter names that stay at their pretrained values.
        tokens: caption tokens [C, M, L], or None for a model without a text tower.
    """

    plain: Objective
    learned: Objective | None = None
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    optimizer: AdamWConfig = field(default_factory=AdamWConfig)
    steps: int = 248
    checks: int = 8
    penalty_scale: str = "standard"
    freeze: tuple[str, ...] = ()
    tokens: Tensor | None = None
    eval_batch_size: int = 512
    seed: int = 0
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class FitContext:
    """A fit at work: its settings, and where what comes out of it goes beside the classifier.

    Args:
        fitted: another method's classifier by name, trained once and shared.
        keeper: keeps the state of trainings.
        log: takes what is worth a line in metrics.jsonl.
        steer: of `autoft`: asked before each step for the objective to go on with.
        cost: the bill, without what `fitted` takes; the fit adds to it.
    """

    settings: FitSettings
    fitted: Callable[[str], Classifier] = _none_fitted
    keeper: Keeper = field(default_factory=Forgetful)
    log: Log = _unlogged
    steer: Steer | None = None
    cost: Cost = field(default_factory=Cost)

    def varied(self, **changes: Any) -> FitContext:
        """The same fit with other settings."""
        return replace(self, settings=replace(self.settings, **changes))

    def bill_forward(self, images: int) -> None:
        """Put so many images' forward passes on the bill."""
        self.cost.step_equivalents += images / self.settings.finetune.batch_size / 3
