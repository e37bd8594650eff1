"""oracle: plain fine-tuning on labelled images of the tests' own distribution."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """`ft` where its registry line hands it `Splits.oracle_data`: a ceiling to measure by, not a competitor."""
    return train(classifier, settings.plain, data, settings, "oracle")
