"""Estimators of the hypergradient and linear solvers by name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from metaft.config.schema import HypergradConfig, StepConfig
from metaft.errors import Fault, unknown
from metaft.lazy import Lazy
from metaft.names import ALPHA, Name

EAGER = StepConfig()
STORAGES = ("keep", "replay", "auto", "segments")


def _nothing(name: str) -> bool:
    return False


def _outside_the_loss(name: str) -> bool:
    """Whether a hyperparameter acts outside the inner loss: in the optimizer, in a hook, on the result."""
    parsed = Name.parse(name)
    return parsed.is_knob or parsed.of_optimizer or parsed.base == ALPHA


@dataclass(frozen=True)
class EstimatorKind:
    """A registered estimator.

    Args:
        make: the estimator (see `metaft.inner.loop.Estimator`) from the section `hypergrad`.
        storages: those it can work with.
        refuses: whether it cannot differentiate with respect to a hyperparameter of this name.
        whole: whether it needs states that are whole on every rank.
        recomputes: whether the model may compute blocks again for a derivative, as no graph of it outlives a pass.
        compiles: whether the model may be compiled, as nothing but first derivatives in reverse mode is asked of it.
    """

    description: str
    make: Callable[[HypergradConfig], Any]
    storages: tuple[str, ...] = ("auto", "keep")
    refuses: Callable[[str], bool] = _nothing
    whole: bool = False
    recomputes: bool = False
    compiles: bool = False


ESTIMATORS: dict[str, EstimatorKind] = {
    "auto": EstimatorKind(
        "the cheaper of unroll and differences: unroll where graphs fit into memory, or errors are large",
        Lazy("metaft.inner.auto:Auto"),
    ),
    "unroll": EstimatorKind(
        "exact, by a reverse sweep through every step of the inner loop",
        Lazy("metaft.inner.unroll:Unroll.of"),
        STORAGES,
    ),
    "differences": EstimatorKind(
        "by a reverse sweep from first derivatives of the model, at two points beside each step's parameters",
        Lazy("metaft.inner.differences:Differences.of"),
        ("auto", "replay", "segments"),
        recomputes=True,
        compiles=True,
    ),
    "truncated": EstimatorKind(
        "through the last steps alone (hypergrad.last)", Lazy("metaft.inner.unroll:Truncated.of"), STORAGES
    ),
    "one_step": EstimatorKind("through the last step alone", Lazy("metaft.inner.unroll:Truncated.one_step"), STORAGES),
    "forward": EstimatorKind(
        "exact, by forward mode; for few hyperparameters",
        Lazy("metaft.inner.forward:Forward.of"),
        whole=True,
        recomputes=True,
    ),
    "implicit": EstimatorKind(
        "by the implicit function theorem, for term weights",
        Lazy("metaft.inner.implicit:Implicit.of"),
        refuses=_outside_the_loss,
        whole=True,
    ),
}


@dataclass(frozen=True)
class LinearSolverKind:
    """A registered linear solver: `make` gives it (see `metaft.inner.solvers`) from the section `hypergrad`."""

    description: str
    make: Callable[[HypergradConfig], Any]


LINEAR_SOLVERS: dict[str, LinearSolverKind] = {
    "cg": LinearSolverKind("conjugate gradients", Lazy("metaft.inner.solvers:ConjugateGradients.of")),
    "neumann": LinearSolverKind("Neumann series", Lazy("metaft.inner.solvers:Neumann.of")),
}


def refusals(estimator: str, storage: str, names: Iterable[str], step: StepConfig = EAGER) -> list[Fault]:
    """Faults of an estimator that is unknown, or cannot work with a storage, such steps or these hyperparameters."""
    if estimator not in ESTIMATORS:
        return [unknown("hypergrad.estimator", estimator, ESTIMATORS)]
    chosen, faults = ESTIMATORS[estimator], []
    kinds = ESTIMATORS.items()
    if storage not in chosen.storages:
        faults.append(unknown("hypergrad.storage", storage, chosen.storages))
    for how, asked, serving in (
        ("checkpointing", step.checkpointing, [name for name, kind in kinds if kind.recomputes]),
        ("compile", step.compile, [name for name, kind in kinds if kind.compiles]),
    ):
        if asked and estimator not in serving:
            faults.append(Fault("hypergrad.estimator", f"{estimator!r} with inner.{how}", ", ".join(serving)))
    refused = [name for name in names if chosen.refuses(name)]
    if refused:
        able = ", ".join(name for name, kind in kinds if not any(map(kind.refuses, refused)))
        refusal = f"{estimator!r} cannot differentiate by {', '.join(refused)}, which the inner loss does not hold"
        faults.append(Fault("hypergrad.estimator", refusal, f"{able}; or fix them under objective.fixed"))
    return faults
