"""lp_ft: plain fine-tuning from the linear probe."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """All weights from the head of `linear_probe`: a head that already fits distorts the features less.

    A head that model.freeze keeps stays as the probe has it, not as theta_0 does.

    Source: Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    """
    return train(context.fitted("linear_probe"), context.settings.plain, data, context, "lp_ft")
