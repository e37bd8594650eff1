"""ft: plain fine-tuning."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy from the zero-shot head (Wortsman et al., CVPR 2022, appendix, end-to-end fine-tuning)."""
    return train(classifier, context.settings.plain, data, context, "ft")
