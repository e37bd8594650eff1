"""digrap: fine-tuning without a learned share of what takes a step further from theta_0."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.digrap.DiGraP` (Huang et al., ICLR 2025, algorithm 1)."""
    return train_with_hook(classifier, data, context, "digrap")
