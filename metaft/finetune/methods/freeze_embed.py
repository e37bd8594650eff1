"""freeze_embed: fine-tuning of all but the layers that make tokens of pixels."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.freeze_embed` (Kumar et al., arXiv 2211.09359)."""
    return train_with_hook(classifier, data, context, "freeze_embed")
