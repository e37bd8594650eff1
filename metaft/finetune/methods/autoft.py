"""autoft: fine-tuning with a learned objective."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train
from metaft.finetune.methods.wise_ft import interpolate
from metaft.objective.heads import HEADS, ZERO_SHOT


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Train on the objective of a search, or on that of a running online search (AutoFT, arXiv 2401.10220).

    Raises:
        ValueError: there is no learned objective.
    """
    learned = context.settings.learned
    if learned is None:
        raise ValueError("autoft: no learned objective; allowed: one from a search or from --objective")
    begin = classifier if learned.head == ZERO_SHOT else context.fitted(HEADS[learned.head].method)

    def finish(model: Classifier) -> Classifier:
        return model if learned.alpha == 1 else interpolate(begin, model, learned.alpha)

    return train(begin, learned, data, context, "autoft", finish=finish, steer=context.steer)
