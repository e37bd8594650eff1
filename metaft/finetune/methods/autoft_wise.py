"""autoft_wise: weights between the zero-shot model and autoft's."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import chosen_mix


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The chosen mix of zero_shot and autoft (Choi et al., AutoFT, arXiv 2401.10220: WiSE-FT on top)."""
    return chosen_mix("autoft_wise", context.fitted("autoft"), classifier, data, context)
