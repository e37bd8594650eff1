"""Methods that add one weighted term to cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings
from metaft.hooks import Knob
from metaft.objective.space import Float


def strength(default: float) -> Knob:
    """The knob `weight`."""
    return Knob(Float("weight", 1e-4, 10.0, log=True), default)


def with_term(
    method: str, term: str, knobs: Sequence[Knob], classifier: Classifier, data: SearchData, settings: FitSettings
) -> Classifier:
    """Fine-tune on the plain objective and a term with the method's `weight`."""
    weight = settings.knobs(method, knobs)["weight"]
    objective = replace(settings.plain, terms={**settings.plain.terms, term: weight})
    return train(classifier, objective, data, settings, method)
