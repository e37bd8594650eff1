"""kd: fine-tuning that keeps theta_0's predictions on the training images."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.penalised import strength, with_term
from metaft.finetune.settings import FitSettings

KNOBS = (strength(1.0),)


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Cross-entropy plus `weight` times the term `kd`; theta_0's predictions are made once for each image.

    Source: Li and Hoiem, Learning without forgetting, ECCV 2016, section 3 (on the new task's images).
    """
    return with_term("kd", "kd", KNOBS, classifier, data, settings)
