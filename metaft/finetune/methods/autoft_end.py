"""autoft_end: where the learned objective's fine-tune ends, before any way back."""

from __future__ import annotations

from dataclasses import replace

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train
from metaft.finetune.methods.autoft import learned_in
from metaft.objective.heads import HEADS, ZERO_SHOT


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Train on the objective of a search, or on that of a running online search (AutoFT, arXiv 2401.10220).

    Its share of the way counts for nothing here.

    Raises:
        ValueError: there is no learned objective.
    """
    learned = replace(learned_in(context), alpha=1.0)
    begin = classifier if learned.head == ZERO_SHOT else context.fitted(HEADS[learned.head].method)
    return train(begin, learned, data, context, "autoft_end", steer=context.steer)
