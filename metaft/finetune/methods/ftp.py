"""ftp: fine-tuning within balls around theta_0 that learn their radii as they go."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.ftp.FTP` (Tian et al., NeurIPS 2023, algorithm 1)."""
    return train_with_hook(classifier, data, context, "ftp")
