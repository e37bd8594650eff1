"""sift: fine-tuning of the entries with the largest first gradients, and of the head."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import paced
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.sift` (Song et al., ICML 2024).

    Few entries want a larger learning rate: `lr_factor` times plain fine-tuning's.
    """
    return train_with_hook(classifier, data, paced("sift", context), "sift")
