"""autoft_wise: weights between the zero-shot model and autoft's."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import mixed


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The chosen mix of zero_shot and autoft (Choi et al., AutoFT, arXiv 2401.10220: WiSE-FT on top).

    Where autoft trains on ood_val, its models on folds are mixed to choose, each judged by the images left to it.
    """
    return mixed("autoft_wise", "autoft", classifier, data, context)
