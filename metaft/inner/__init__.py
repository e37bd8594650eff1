"""The inner loop: a differentiable step and the estimators that differentiate many of them."""

from metaft.inner.estimators import ESTIMATORS, Estimator, estimate
from metaft.inner.step import InnerState, Step, second_order_attention

__all__ = ["ESTIMATORS", "Estimator", "InnerState", "Step", "estimate", "second_order_attention"]
