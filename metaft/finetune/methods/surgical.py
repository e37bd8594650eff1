"""surgical: fine-tuning of some layers, or of each as far as its gradient is large beside it."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.surgical` (Lee et al., ICLR 2023)."""
    return train_with_hook(classifier, data, context, "surgical")
