"""ft_ood_val: plain fine-tuning on the ID and the OOD validation images together."""

from __future__ import annotations

from dataclasses import replace

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, joined
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Cross-entropy on id_train and ood_val: what anyone would try before a search, in as many steps as `ft`."""
    together = replace(data, id_train=joined("id_train and ood_val", data.id_train, data.ood_val))
    return train(classifier, settings.plain, together, settings, "ft_ood_val")
