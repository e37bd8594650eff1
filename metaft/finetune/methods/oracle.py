"""oracle: plain fine-tuning on labelled images from the distribution of the OOD tests."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """`ft` on `Splits.oracle_data`, which its registry entry selects: a ceiling to measure by, not a competitor."""
    return train(classifier, context.settings.plain, data, context, "oracle")
