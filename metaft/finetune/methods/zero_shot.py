"""zero_shot: no training at all."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The classifier as it is (Radford et al., ICML 2021, section 3.1)."""
    return classifier
