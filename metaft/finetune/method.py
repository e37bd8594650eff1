"""What a fine-tuning method is to the registry in `metaft.finetune.methods`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from metaft.hooks.knobs import Knob
from metaft.lazy import Lazy

if TYPE_CHECKING:
    from torch import Tensor

    from metaft.clip.classifier import Classifier
    from metaft.data.types import SearchData, Splits
    from metaft.finetune.context import FitContext, FitSettings

    BySettings = Callable[[FitSettings], bool]
    Needs = Callable[[Classifier, Tensor], object]


def always(settings: FitSettings) -> bool:
    """True, whatever the settings."""
    return True


def nothing(classifier: Classifier, tokens: Tensor) -> None:
    """Refuse no model, whatever captions it has."""


def never(settings: FitSettings) -> bool:
    """False, whatever the settings."""
    return False


@dataclass(frozen=True)
class Method:
    """A registered method.

    Args:
        fit: (theta_0, data, context) to the fitted classifier.
        knobs: its hyperparameters, set under `finetune.knobs`.
        sees: the part of a data set that it is given; None where the data set cannot serve it. All methods but the
            oracle are given what a search is given.
        source: where it was published; empty: nowhere, or it is older than any paper.
        fits_ood_val: whether the model is trained on images of ood_val, with these settings; to choose by them is not
            to train on them.
        whole: whether it trains, with these settings, with a hook of its own that is not `entrywise`.
        needs: (theta_0, caption tokens [C, M, L]) to an error, raised before anything is trained, where the method
            needs what these do not have.
        makes: the parameters that it makes of others that learn, which must not be frozen.
    """

    description: str
    fit: Callable[[Classifier, SearchData, FitContext], Classifier]
    source: str = ""
    knobs: tuple[Knob, ...] = ()
    sees: Callable[[Splits], SearchData | None] = attrgetter("search_data")
    fits_ood_val: BySettings = never
    whole: BySettings = never
    needs: Needs = nothing
    makes: tuple[str, ...] = ()


def method(
    name: str,
    description: str,
    source: str,
    *knobs: Knob,
    sees: str = "search_data",
    fits_ood_val: BySettings = never,
    whole: BySettings = never,
    has_needs: bool = False,
    makes: tuple[str, ...] = (),
) -> tuple[str, Method]:
    """A line of the registry: a name, and the method in the file of this name, with its `needs` where it has some."""
    fit, own = (Lazy(f"metaft.finetune.methods.{name}:{part}") for part in ("fit", "needs"))
    needs = own if has_needs else nothing
    return name, Method(description, fit, source, knobs, attrgetter(sees), fits_ood_val, whole, needs, makes)
