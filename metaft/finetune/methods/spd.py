"""spd: fine-tuning that decays towards theta_0 where drift no longer helps."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.spd.SPD` (Tian et al., NeurIPS 2024, section 3)."""
    return train_with_hook(classifier, data, context, "spd")
