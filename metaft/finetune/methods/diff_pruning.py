"""diff_pruning: fine-tuning of a difference from theta_0 of which few entries are not 0."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import paced
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.diff_pruning.DiffPruning` (Guo et al., ACL 2021, section 3).

    Few entries want a larger learning rate: `lr_factor` times plain fine-tuning's.
    """
    return train_with_hook(classifier, data, paced("diff_pruning", context), "diff_pruning")
