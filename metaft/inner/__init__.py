"""The inner loop: a differentiable step, and the estimators that differentiate many of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "auto": ["Auto"],
        "attention": ["second_order_attention"],
        "differences": ["Differences"],
        "hypergradient": ["differentiate", "estimate"],
        "forward": ["Forward", "along"],
        "implicit": ["Implicit"],
        "loop": ["Estimator", "Footprint", "HalvedStep", "Loop", "Part", "Trace"],
        "registry": ["ESTIMATORS", "LINEAR_SOLVERS", "EstimatorKind", "LinearSolverKind"],
        "state": ["InnerState", "State", "Tree"],
        "step": ["Step"],
        "unroll": ["Truncated", "Unroll"],
    },
)
