"""gmixout: fine-tuning at weights that are put back to a moving anchor at random."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.gmixout.GMixout` (Aminbeidokhti et al., arXiv 2510.06982)."""
    return train_with_hook(classifier, data, context, "gmixout")
