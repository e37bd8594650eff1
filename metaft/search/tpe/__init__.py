"""The Tree-structured Parzen Estimator: what to observe, a mixture fitted to it, arrays that sample and score."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"tpe": ["TPE", "Failed", "Stopped", "Told", "Trial"]}
)
