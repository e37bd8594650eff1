"""Fine-tuning methods by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, Splits
from metaft.finetune.methods import autoft, dfr, ft, ft_ood_val, oracle, wise_ft, zero_shot
from metaft.finetune.settings import FitSettings

Fit = Callable[[Classifier, SearchData, FitSettings], Classifier]


@dataclass(frozen=True)
class Method:
    """A registered method.

    Args:
        sees: what it is given of a data set; None where the data set cannot serve it. All but the oracle are given
            what a search is given.
    """

    description: str
    fit: Fit
    sees: Callable[[Splits], SearchData | None] = attrgetter("search_data")


METHODS: dict[str, Method] = {
    "zero_shot": Method("the pretrained model with its head of class names", zero_shot.fit),
    "ft": Method("plain fine-tuning: cross-entropy, AdamW", ft.fit),
    "wise_ft": Method("weights between zero_shot and ft, the mix chosen on validation data", wise_ft.fit),
    "autoft": Method("fine-tuning with the searched objective", autoft.fit),
    "ft_ood_val": Method("plain fine-tuning on id_train and ood_val together", ft_ood_val.fit),
    "dfr": Method("ft with its last layer retrained on ood_val", dfr.fit),
    "oracle": Method(
        "plain fine-tuning on labelled images like the OOD tests: a ceiling", oracle.fit, attrgetter("oracle_data")
    ),
}
