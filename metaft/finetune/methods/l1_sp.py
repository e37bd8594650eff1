"""l1_sp: fine-tuning with an L1 pull towards theta_0."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.penalised import with_term


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy plus `weight` times `l1init` (see `metaft.objective.penalties` for its scale).

    Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018, section 3 (L1-SP).
    """
    return with_term("l1_sp", "l1init", classifier, data, context)
