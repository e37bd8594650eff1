"""r_adapter: fine-tuning of adapters that are dropped at random, averaged, rescaled and merged."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import paced
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.r_adapter.RAdapter` (Kim et al., ECCV 2024).

    Adapters want a larger learning rate than what they adapt: `lr_factor` times plain fine-tuning's.
    """
    return train_with_hook(classifier, data, paced("r_adapter", context), "r_adapter")
