"""l1_sp: fine-tuning with an L1 pull towards theta_0."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.penalised import strength, with_term
from metaft.finetune.settings import FitSettings

KNOBS = (strength(0.1),)


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Cross-entropy plus `weight` times `l1init` (see `metaft.objective.penalties` for its scale).

    Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018, section 3 (L1-SP).
    """
    return with_term("l1_sp", "l1init", KNOBS, classifier, data, settings)
