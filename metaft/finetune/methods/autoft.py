"""autoft: fine-tuning with a learned objective."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """The objective that a search found, or that changes as an online search goes (AutoFT, arXiv 2401.10220).

    Raises:
        ValueError: there is no learned objective.
    """
    if settings.learned is None:
        raise ValueError("autoft: no learned objective; allowed: one from a search or from --objective")
    begin = classifier if settings.learned.head == "zero_shot" else settings.fitted(settings.learned.head)
    return train(begin, settings.learned, data, settings, "autoft", steer=settings.steer, theta_0=classifier)
