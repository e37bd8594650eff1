"""ft_ood_val: plain fine-tuning on the ID and the OOD validation images together."""

from __future__ import annotations

from dataclasses import replace

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, joined
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy on id_train and ood_val: the obvious alternative to a search, in as many steps as `ft`."""
    together = replace(data, id_train=joined("id_train and ood_val", data.id_train, data.ood_val))
    return train(classifier, context.settings.plain, together, context, "ft_ood_val")
