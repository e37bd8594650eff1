"""Objectives: loss terms, their weighted sum, and the space in which it is searched."""

from metaft.objective import losses, penalties  # noqa: F401  (they fill the registry)
from metaft.objective.objective import Objective, WeightedLoss, base_name, is_knob, load_objective, per_group
from metaft.objective.registry import TERMS, Term, term
from metaft.objective.state import StepState

__all__ = [
    "TERMS",
    "Objective",
    "StepState",
    "Term",
    "WeightedLoss",
    "base_name",
    "is_knob",
    "load_objective",
    "per_group",
    "term",
    "terms",
]


def terms() -> tuple[str, ...]:
    """The names of all registered terms."""
    return tuple(TERMS)
