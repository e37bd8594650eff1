"""What a fine-tuning method is to the registry in `metaft.finetune.methods`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from metaft.hooks.knobs import Knob
from metaft.lazy import Lazy

if TYPE_CHECKING:
    from metaft.clip.classifier import Classifier
    from metaft.data.types import SearchData, Splits
    from metaft.finetune.context import FitContext, FitSettings

    FitsOodVal = Callable[[FitSettings], bool]


def always(settings: FitSettings) -> bool:
    """True, whatever the settings."""
    return True


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
    """

    description: str
    fit: Callable[[Classifier, SearchData, FitContext], Classifier]
    source: str = ""
    knobs: tuple[Knob, ...] = ()
    sees: Callable[[Splits], SearchData | None] = attrgetter("search_data")
    fits_ood_val: FitsOodVal = never


def method(
    name: str, description: str, source: str, *knobs: Knob, sees: str = "search_data", fits_ood_val: FitsOodVal = never
) -> tuple[str, Method]:
    """A line of the registry: a name, and the method in the file of this name."""
    fit = Lazy(f"metaft.finetune.methods.{name}:fit")
    return name, Method(description, fit, source, knobs, attrgetter(sees), fits_ood_val)
