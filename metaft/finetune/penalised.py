"""Methods that add one weighted term to cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train
from metaft.finetune.own import Own, Seen


def with_term(method: str, term: str, classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Fine-tune on the plain objective and a term with the method's knob `weight`."""
    plain = context.settings.plain
    objective = replace(plain, terms={**plain.terms, term: knobs_of(method, context)["weight"]})
    return train(classifier, objective, data, context, method)


def with_own_term(
    method: str, function: Callable[[Seen], Tensor], classifier: Classifier, data: SearchData, context: FitContext
) -> Classifier:
    """Fine-tune on the plain objective and a term of the method's own (see `metaft.finetune.own`), weighed likewise."""
    own = Own(knobs_of(method, context)["weight"], function)
    return train(classifier, context.settings.plain, data, context, method, own=own)
