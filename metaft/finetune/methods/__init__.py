"""Fine-tuning methods by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.methods import autoft, ft, wise_ft, zero_shot
from metaft.finetune.settings import FitSettings

Fit = Callable[[Classifier, SearchData, FitSettings], Classifier]


@dataclass(frozen=True)
class Method:
    """A registered method."""

    description: str
    fit: Fit


METHODS: dict[str, Method] = {
    "zero_shot": Method("the pretrained model with its head of class names", zero_shot.fit),
    "ft": Method("plain fine-tuning: cross-entropy, AdamW", ft.fit),
    "wise_ft": Method("weights between zero_shot and ft, the mix chosen on validation data", wise_ft.fit),
    "autoft": Method("fine-tuning with the searched objective", autoft.fit),
}
