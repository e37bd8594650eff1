"""kd: fine-tuning that keeps theta_0's predictions on the training images."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.penalised import with_term


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy plus `weight` times the term `kd`; theta_0's predictions are made once for each image.

    The temperature is 1; the paper's is 2.

    Source: Li and Hoiem, Learning without forgetting, ECCV 2016, section 3 (on the new task's images).
    """
    return with_term("kd", "kd", classifier, data, context)
