"""autoft_wise: weights between where the learned objective's fine-tune begins and where it ends."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.autoft import learned_in, way_of


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """autoft with its share of the way chosen by validation data.

    By accuracy and loss on ood_val; more than `search.id_drop_max` of accuracy lost in distribution counts against it.
    Where autoft trains on ood_val, its models on folds are mixed to choose, each judged by the images left to it. The
    way begins with the head of the objective, at theta_0 where that is the zero-shot one.

    Raises:
        ValueError: there is no learned objective.

    Source: Choi et al., AutoFT, arXiv 2401.10220 (WiSE-FT on top).
    """
    return way_of(learned_in(context)).mixed("autoft_wise", data, context)
