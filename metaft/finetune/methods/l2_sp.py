"""l2_sp: fine-tuning with a squared L2 pull towards theta_0."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.penalised import strength, with_term
from metaft.finetune.settings import FitSettings

KNOBS = (strength(0.01),)


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Cross-entropy plus `weight` times `l2init`, the head among what is pulled, for it is pretrained here.

    Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018, eq. 3 (L2-SP).
    """
    return with_term("l2_sp", "l2init", KNOBS, classifier, data, settings)
