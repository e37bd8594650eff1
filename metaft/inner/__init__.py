"""The inner loop: a differentiable step and the estimators that differentiate many of them."""

from metaft.inner.estimators import ESTIMATORS, Estimator, estimate, refusals
from metaft.inner.forward import along
from metaft.inner.loop import DEFAULT, Loop, Options, measure
from metaft.inner.state import InnerState
from metaft.inner.step import Step, second_order_attention
from metaft.inner.storage import Footprint, Plan
from metaft.inner.sweep import Trace

__all__ = [
    "DEFAULT",
    "ESTIMATORS",
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
    "measure",
    "refusals",
    "second_order_attention",
]
