"""bitfit: fine-tuning of biases and of the head."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import paced
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.bitfit` (Ben Zaken et al., ACL 2022, section 3).

    Few parameters want a larger learning rate, as in the paper: `lr_factor` times plain fine-tuning's.
    """
    return train_with_hook(classifier, data, paced("bitfit", context), "bitfit")
