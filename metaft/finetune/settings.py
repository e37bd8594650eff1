"""What every fine-tuning method is given beside the classifier and the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.hooks import HookOptions, Knob
from metaft.hooks.knobs import settled
from metaft.inner import InnerState
from metaft.objective import Objective


def _ignore(event: dict[str, Any]) -> None:
    """Keep no log."""


def _nothing_fitted(name: str) -> Classifier:
    raise KeyError(f"no method {name!r} has been fitted")


Steer = Callable[[int, int, Callable[[], InnerState]], Objective]  # from steps done, steps in all, the state


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


@dataclass
class Cost:
    """What a fit has taken: step equivalents (in steps at `FitSettings.batch_size`) and seconds."""

    step_equivalents: float = 0.0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        """Add another's."""
        self.step_equivalents += other.step_equivalents
        self.seconds += other.seconds


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit.

    Args:
        plain: plain fine-tuning's objective (cross-entropy alone).
        learned: the objective a search found, where there is one; with `steer` the one that it starts from.
        steer: of `autoft`: asked before each step for the objective to go on with.
        options: the methods' own knobs, and which parameters they leave alone.
        steps: optimizer steps, the same for every method whatever the number of its images.
        checks: how often on the way ID validation is looked at.
        warmup: share of the steps over which the learning rate rises to its peak; then it falls as a cosine to 0.
        freeze: patterns of parameter names that stay at their pretrained values.
        tokens: caption tokens [C, M, L], or None for a model without a text tower.
        fitted: another method's classifier by name, trained once and shared.
        keeper: keeps the state of trainings.
        cost: filled by the fit, without what `fitted` takes.
        log: takes one event a call, as plain values.
    """

    plain: Objective
    learned: Objective | None = None
    steer: Steer | None = None
    options: HookOptions = field(default_factory=HookOptions)
    steps: int = 248
    checks: int = 8
    batch_size: int = 64
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    penalty_scale: str = "standard"
    freeze: tuple[str, ...] = ()
    tokens: Tensor | None = None
    eval_batch_size: int = 512
    seed: int = 0
    device: torch.device | str = "cpu"
    fitted: Callable[[str], Classifier] = _nothing_fitted
    keeper: Keeper = field(default_factory=Forgetful)
    cost: Cost = field(default_factory=Cost)
    log: Callable[[dict[str, Any]], None] = field(default=_ignore)

    def knobs(self, method: str, knobs: Sequence[Knob]) -> Mapping[str, Any]:
        """A method's knobs by name, as set or by default."""
        return settled(knobs, self.options.knobs.get(method, {}))

    def forward(self, images: int) -> None:
        """Put so many images' forward passes on the bill."""
        self.cost.step_equivalents += images / self.batch_size / 3
