"""lora: fine-tuning of attention within a low rank, and of the head."""

from __future__ import annotations

from dataclasses import replace

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.loop import train_with_hook
from metaft.finetune.settings import FitSettings
from metaft.hooks import HOOKS, Knob
from metaft.objective.space import Float

KNOBS = (*HOOKS["lora"].knobs, Knob(Float("lr_factor", 0.1, 100.0, log=True), 10.0))


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.lora.LoRA`, merged at the end (Hu et al., ICLR 2022, section 4.1).

    Low-rank factors want a larger learning rate than whole matrices: `lr_factor` times plain fine-tuning's.
    """
    lr = settings.plain.lr * settings.knobs("lora", KNOBS)["lr_factor"]
    own = replace(settings, plain=replace(settings.plain, lr=lr))
    return train_with_hook(classifier, data, own, "lora")
