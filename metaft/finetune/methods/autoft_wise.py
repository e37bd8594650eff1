"""autoft_wise: weights between the zero-shot model and autoft's."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.methods.wise_ft import chosen_mix
from metaft.finetune.settings import FitSettings


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """The chosen mix of zero_shot and autoft (Choi et al., AutoFT, arXiv 2401.10220: WiSE-FT on top)."""
    return chosen_mix("autoft_wise", settings.fitted("autoft"), classifier, data, settings)
