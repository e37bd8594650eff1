"""Samplers and outer losses by name, one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from metaft.lazy import Lazy
from metaft.metrics import CE_SLOPE

if TYPE_CHECKING:
    from torch import Tensor

HYPERGRAD = "hypergrad"  # the mode that is no sampler
AUTO = "auto"  # no outer loss: that of the metric


@dataclass(frozen=True)
class SamplerKind:
    """A registered sampler, whose name is a mode of search.

    Args:
        make: (space, seed, **options) to a sampler (see `metaft.search.sampler`).
        section: the section of the settings that holds its options; None where it has none.
        learns: whether its proposals depend on earlier trials.
        package: one that it needs beside metaft's own, and the extra that installs it.
    """

    description: str
    make: Callable[..., Any]
    section: str | None = None
    learns: bool = True
    package: str | None = None

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return self.package is None or find_spec(self.package) is not None


SAMPLERS: dict[str, SamplerKind] = {
    "tpe": SamplerKind("Tree-structured Parzen Estimator", Lazy("metaft.search.tpe:TPE"), "tpe"),
    "random": SamplerKind("uniform points of the unit cube", Lazy("metaft.search.random:Uniform"), learns=False),
    "optuna-tpe": SamplerKind(
        "Optuna's Tree-structured Parzen Estimator", Lazy("metaft.search.from_optuna:tpe"), package="optuna"
    ),
    "optuna-gp": SamplerKind("Optuna's Gaussian process", Lazy("metaft.search.from_optuna:gp"), package="optuna"),
    "optuna-qmc": SamplerKind(
        "Optuna's scrambled Sobol points", Lazy("metaft.search.from_optuna:Sobol"), learns=False, package="optuna"
    ),
}


def modes() -> list[str]:
    """The modes of search: by hypergradients, or by the values that a sampler asks for."""
    return [HYPERGRAD, *SAMPLERS]


@dataclass(frozen=True)
class OuterLoss:
    """A registered outer loss: of logits [B, C] and labels [B], to a 0-d tensor.

    Args:
        stand_in: names the loss whose gradient stands in for this one's, where it has none.
        slope: how much lower it is, about, for each share of accuracy that is gained.
    """

    description: str
    function: Callable[[Tensor, Tensor], Tensor]
    stand_in: str | None = None
    slope: float = 1.0

    @property
    def smooth(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The function that is differentiated: of this loss, or of its stand-in."""
        return self.function if self.stand_in is None else OUTER_LOSSES[self.stand_in].function


OUTER_LOSSES: dict[str, OuterLoss] = {
    "ce": OuterLoss("cross-entropy", Lazy("torch.nn.functional:cross_entropy"), slope=CE_SLOPE),
    "ce_calibrated": OuterLoss(
        "cross-entropy with its temperature fitted inside",
        Lazy("metaft.temperature:ce_calibrated"),
        slope=CE_SLOPE,
    ),
    "ce_by_class": OuterLoss(
        "the mean over classes of their cross-entropy, with its temperature fitted inside",
        Lazy("metaft.temperature:ce_by_class"),
        slope=CE_SLOPE,
    ),
    "margin": OuterLoss(
        "smooth error rate of margins, the same at every temperature", Lazy("metaft.search.problem.outer:margin")
    ),
    "error": OuterLoss(
        "error rate; hypergrad takes the gradient of margin",
        Lazy("metaft.search.problem.outer:error"),
        stand_in="margin",
    ),
    "macro_f1": OuterLoss(
        "1 - macro F1; hypergrad takes the gradient of ce_by_class",
        Lazy("metaft.search.problem.outer:macro_f1"),
        stand_in="ce_by_class",
    ),
    "mean_per_class": OuterLoss(
        "1 - mean accuracy per class; hypergrad takes the gradient of ce_by_class",
        Lazy("metaft.search.problem.outer:mean_per_class"),
        stand_in="ce_by_class",
    ),
}
