"""l2_sp: fine-tuning with a squared L2 pull towards theta_0."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.penalised import with_term


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy plus `weight` times `l2init`, the head included, since it is pretrained here.

    `weight` is half of the paper's alpha. AdamW's decay towards 0 goes on beside it; the paper has none but of a
    new head.

    Source: Li et al., Explicit inductive bias for transfer learning, ICML 2018, eq. 3 (L2-SP).
    """
    return with_term("l2_sp", "l2init", classifier, data, context)
