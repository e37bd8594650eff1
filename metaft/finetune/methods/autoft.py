"""autoft: fine-tuning with a learned objective."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import Way
from metaft.objective.heads import HEADS
from metaft.objective.objective import Objective


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The objective's share of the way from where its fine-tune begins to where it ends (AutoFT, arXiv 2401.10220).

    Raises:
        ValueError: there is no learned objective.
    """
    learned = learned_in(context)
    return way_of(learned).model(learned.alpha, context)


def learned_in(context: FitContext) -> Objective:
    """The learned objective of a fit.

    Raises:
        ValueError: there is none.
    """
    if context.settings.learned is None:
        raise ValueError("autoft: no learned objective; allowed: one from a search or from --objective")
    return context.settings.learned


def way_of(learned: Objective) -> Way:
    """The way of a learned objective's fine-tune, from its head on."""
    return Way(HEADS[learned.head].method, "autoft_end", weighed=True)
