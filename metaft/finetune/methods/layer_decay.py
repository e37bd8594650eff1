"""layer_decay: fine-tuning with smaller learning rates further from the output."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.layer_decay.LayerDecay` (Bao et al., BEiT, ICLR 2022)."""
    return train_with_hook(classifier, data, context, "layer_decay")
