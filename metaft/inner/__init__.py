"""The inner loop: a differentiable step and the estimators that differentiate many of them."""

from metaft.inner.estimators import DEFAULT, ESTIMATORS, Estimator, Loop, Options, along, estimate, measure, refusals
from metaft.inner.solvers import SOLVERS
from metaft.inner.step import PRECISIONS, InnerState, Step, second_order_attention
from metaft.inner.storage import Footprint, Plan, free_memory
from metaft.inner.sweep import Trace

__all__ = [
    "DEFAULT",
    "ESTIMATORS",
    "PRECISIONS",
    "SOLVERS",
    "Estimator",
    "Footprint",
    "InnerState",
    "Loop",
    "Options",
    "Plan",
    "Step",
    "Trace",
    "along",
    "estimate",
    "free_memory",
    "measure",
    "refusals",
    "second_order_attention",
]
