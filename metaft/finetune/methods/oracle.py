"""oracle: plain fine-tuning on labelled images of the tests' own distribution."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """`ft` where its registry line hands it `Splits.oracle_data`: a ceiling to measure by, not a competitor."""
    return train(classifier, context.settings.plain, data, context, "oracle")
