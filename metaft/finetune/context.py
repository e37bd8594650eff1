"""What every fine-tuning method is given beside the classifier and the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.config.schema import AdamWConfig, FinetuneConfig
from metaft.cost import Cost
from metaft.data.types import Split
from metaft.finetune.crossfit import Apart, Judged, rows_by_fold
from metaft.inner.state import InnerState
from metaft.objective.objective import Objective

Steer = Callable[[int, int, Callable[[], InnerState]], Objective]  # of steps done, steps in all, the state
Log = Callable[[dict[str, Any]], None]  # takes one event per call, as plain values


class Keeper(Protocol):
    """Storage for the states of trainings, from which interrupted ones are resumed.

    `keeps` says whether what is saved can be loaded.
    """

    @property
    def keeps(self) -> bool: ...  # noqa: D102 (see above)

    def load(self, name: str) -> dict[str, Any] | None:
        """The state saved last under a name; None: there is none."""
        ...

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Keep a copy of a state of tensors and plain values, in place of the last one of this name."""
        ...

    def drop(self, name: str) -> None:
        """Keep nothing under a name any more."""
        ...

    def retain(self, name: str, step: int, model: Classifier, most: int) -> None:
        """Keep the model of a check for good, as one of the last `most` of the training of this name."""
        ...


class Forgetful:
    """A keeper that keeps nothing."""

    keeps = False

    def load(self, name: str) -> None:
        """No state under any name."""

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Drop the state."""

    def drop(self, name: str) -> None:
        """There is nothing to drop."""

    def retain(self, name: str, step: int, model: Classifier, most: int) -> None:
        """Let go of the model."""


def _unlogged(event: dict[str, Any]) -> None:
    """Drop the event."""


def _none_fitted(name: str) -> Any:
    raise KeyError(f"no method {name!r} has been fitted")


@dataclass(frozen=True)
class FitSettings:
    """The settings of a fit, which only reads them.

    Args:
        plain: plain fine-tuning's objective (cross-entropy alone).
        learned: the objective a search has settled on, where there is one.
        finetune: batch size, warm-up and options of methods.
        optimizer: AdamW's constants.
        steps: optimizer steps, the same for every method whatever the number of its images.
        checks: how often during training ID validation accuracy is measured.
        penalty_scale: see `metaft.objective.weighted.WeightedLoss`.
        freeze: patterns of parameter names that stay at their pretrained values.
        tokens: caption tokens [C, M, L], or None for a model without a text tower.
        folds: parts of ood_val in cross-fitting: each judges what is trained on the others.
        metric: what models are chosen by (see `metaft.metrics`).
        id_drop_max: how far below plain fine-tuning's accuracy on id_val a learned objective's model may be, a share.
        plain_methods: the methods among which `best_by_ood_val` chooses.
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
    folds: int = 2
    metric: str = "accuracy"
    id_drop_max: float | None = None
    plain_methods: tuple[str, ...] = ("zero_shot",)


@dataclass(frozen=True)
class FitContext:
    """A fit: its settings, and what receives its state, events, choices and cost.

    Args:
        fitted: gives another method's classifier by name, trained once and shared.
        apart, judged: give another method's cross-fitted models and predictions (see `metaft.finetune.fits.Fits`).
        keeper: keeps the states of trainings.
        log: takes events for metrics.jsonl.
        steer: gives `autoft` the objective of each step.
        cost: the fit's cost so far, without that of other methods; the fit adds to it in place.
        chosen: what the fit has chosen on validation data, such as values of its knobs; the fit adds to it in place.
    """

    settings: FitSettings
    fitted: Callable[[str], Classifier] = _none_fitted
    apart: Callable[[str], Sequence[Apart] | None] = _none_fitted
    judged: Callable[[str], Judged | None] = _none_fitted
    keeper: Keeper = field(default_factory=Forgetful)
    log: Log = _unlogged
    steer: Steer | None = None
    cost: Cost = field(default_factory=Cost)
    chosen: dict[str, Any] = field(default_factory=dict)

    def varied(self, **changes: Any) -> FitContext:
        """The same fit with other settings."""
        return replace(self, settings=replace(self.settings, **changes))

    def with_knobs(self, method: str, values: Mapping[str, Any]) -> FitContext:
        """The same fit with these values of a method's knobs."""
        finetune = self.settings.finetune
        knobs = {**finetune.knobs, method: {**finetune.knobs.get(method, {}), **values}}
        return self.varied(finetune=finetune.model_copy(update={"knobs": knobs}))

    def rows_by_fold(self, ood_val: Split) -> list[tuple[Tensor, Tensor]]:
        """The numbers of images that each fold of ood_val is fitted on, and judged by (see `crossfit.rows_by_fold`)."""
        return rows_by_fold(ood_val, self.settings.folds, self.settings.seed)

    def bill_forward(self, images: int) -> None:
        """Add the forward passes of `images` images to the cost: a third of a step equivalent per batch."""
        self.cost.step_equivalents += images / self.settings.finetune.batch_size / 3
