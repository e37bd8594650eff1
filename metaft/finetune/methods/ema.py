"""ema: plain fine-tuning whose result is a moving average of its weights."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.ema.EMA` (Tarvainen and Valpola, NeurIPS 2017)."""
    return train_with_hook(classifier, data, context, "ema")
