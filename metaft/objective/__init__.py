"""Objectives: loss terms, their weighted sum, and the file they are shared in."""

import lazy_loader

from metaft.objective.registry import TERMS, Term, terms

__getattr__, __dir__, _lazy = lazy_loader.attach(
    __name__,
    submod_attrs={
        "file": ["load_objective"],
        "objective": ["Objective"],
        "state": ["StepState"],
        "weighted": ["WeightedLoss"],
    },
)
__all__ = ["TERMS", "Term", "terms", *_lazy]
