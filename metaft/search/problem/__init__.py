"""Fine-tuning as a bi-level problem: the inner runs, and what judges their ends."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"finetune": ["FinetuneProblem"], "runs": ["InnerRuns"]}
)
