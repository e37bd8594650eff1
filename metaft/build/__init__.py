"""Settings to objects, to be read in this order: workspace, space, fits, problem, solver, check."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "check": ["check"],
        "problem": ["bilevel_problem"],
        "workspace": ["Workspace", "workspace"],
    },
)
