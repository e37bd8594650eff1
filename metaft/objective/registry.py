"""The one list of loss terms; a term joins it by a decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from metaft.objective.state import StepState


@dataclass(frozen=True)
class Term:
    """A named loss or penalty.

    `scale` maps the number of trained scalars N to the factor that makes a penalty's weights comparable between
    models (see `metaft.objective.penalties`); losses on a batch need none.
    """

    name: str
    description: str
    function: Callable[[StepState], Tensor]
    penalty: bool = False
    needs_text: bool = False
    scale: Callable[[int], float] = lambda n: 1.0

    def __call__(self, state: StepState) -> Tensor:
        """The term's value, []."""
        return self.function(state)


TERMS: dict[str, Term] = {}


def term(
    name: str,
    description: str,
    *,
    penalty: bool = False,
    needs_text: bool = False,
    scale: Callable[[int], float] = lambda n: 1.0,
) -> Callable[[Callable[[StepState], Tensor]], Callable[[StepState], Tensor]]:
    """Register a function of StepState under a name."""

    def register(function: Callable[[StepState], Tensor]) -> Callable[[StepState], Tensor]:
        if name in TERMS:
            raise ValueError(f"term {name!r} is registered already")
        TERMS[name] = Term(name, description, function, penalty, needs_text, scale)
        return function

    return register
