"""lora: fine-tuning of attention within a low rank, and of the head."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import paced
from metaft.finetune.loop import train_with_hook


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.lora.LoRA`, merged at the end (Hu et al., ICLR 2022, section 4.1).

    Low-rank factors want a larger learning rate than full matrices: `lr_factor` times plain fine-tuning's.
    """
    return train_with_hook(classifier, data, paced("lora", context), "lora")
