"""The loss terms by name: a function in `losses.py` or `penalties.py`, and one line here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaft.lazy import Lazy

if TYPE_CHECKING:
    from torch import Tensor

    from metaft.objective.state import StepState


def _one(count: int) -> float:
    return 1.0


def _inverse_root(count: int) -> float:
    return 1 / math.sqrt(count)


@dataclass(frozen=True)
class Term:
    """A named loss or penalty.

    Args:
        function: of a `StepState`, to a 0-d tensor; twice differentiable almost everywhere.
        penalty: whether it looks at parameters alone, so that each parameter group may have its own weight.
        needs_text: whether it needs captions, and so the text tower.
        across: whether it compares the images of a batch, so that its mean over parts of one is another loss.
        scale: maps the number N of trained scalars to the factor that makes a penalty's weights comparable between
            models (see `metaft.objective.penalties`); losses on a batch need none.
    """

    name: str
    description: str
    function: Callable[[StepState], Tensor]
    penalty: bool = False
    needs_text: bool = False
    across: bool = False
    scale: Callable[[int], float] = _one

    def __call__(self, state: StepState) -> Tensor:
        """The term's value, []."""
        return self.function(state)


def _loss(name: str, description: str, *, needs_text: bool = False, across: bool = False) -> Term:
    return Term(name, description, Lazy(f"metaft.objective.losses:{name}"), needs_text=needs_text, across=across)


def _penalty(name: str, description: str, scale: Callable[[int], float]) -> Term:
    return Term(name, description, Lazy(f"metaft.objective.penalties:{name}"), penalty=True, scale=scale)


_BUILT_IN = (
    _loss("ce", "cross-entropy with the labels"),
    _loss("dcm", "entropy of the misclassified samples"),
    _loss("entropy", "entropy of the predictions"),
    _loss("hinge", "multi-class hinge loss (Weston-Watkins)"),
    _loss("flyp", "contrastive loss between images and captions (FLYP)", needs_text=True, across=True),
    _loss("kd", "distillation from the zero-shot model"),
    _penalty("l1zero", "L1 norm of the parameters", _inverse_root),
    _penalty("l2zero", "squared L2 norm of the parameters", _one),
    _penalty("l1init", "L1 distance to the pretrained parameters", _inverse_root),
    _penalty("l2init", "squared L2 distance to the pretrained parameters (L2-SP)", _one),
)
TERMS: dict[str, Term] = {term.name: term for term in _BUILT_IN}


def compare_images(weights: Mapping[str, Any]) -> bool:
    """Whether a term that has a weight compares the images of a batch, so that its parts are another loss.

    Args:
        weights: by term; other names are left out.
    """
    return any(float(weights[name]) != 0 for name in comparing(weights))


def comparing(names: Iterable[str]) -> list[str]:
    """Those of some terms that compare the images of a batch; other names are left out."""
    return [name for name in names if name in TERMS and TERMS[name].across]


def terms() -> tuple[str, ...]:
    """The names of all registered terms."""
    return tuple(TERMS)
