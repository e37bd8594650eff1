"""lp_ft: plain fine-tuning from the linear probe."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """The head of `linear_probe` first, then all weights: a head that fits distorts the features less.

    Source: Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    """
    return train(settings.fitted("linear_probe"), settings.plain, data, settings, "lp_ft")
