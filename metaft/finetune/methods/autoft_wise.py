"""autoft_wise: weights between where the learned objective's fine-tune begins and where it would end."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import Way
from metaft.objective.heads import HEADS

LEAST = 0.05  # of the objective's own share, from which its way can be followed further


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """autoft with its share of the way chosen anew on validation data, at the full length of the fine-tune.

    More than `search.id_drop_max` of accuracy lost in distribution counts against a share.
    Where autoft trains on ood_val, its models on folds are mixed to choose, each judged by the images left to it. The
    way begins with the head of the objective, at theta_0 where that is the zero-shot one.

    Raises:
        ValueError: there is no learned objective.

    Source: Choi et al., AutoFT, arXiv 2401.10220 (WiSE-FT on top).
    """
    learned = context.settings.learned
    if learned is None:
        raise ValueError("autoft_wise: no learned objective; allowed: one from a search or from --objective")
    reach = learned.alpha if learned.alpha >= LEAST else 1.0
    return Way(HEADS[learned.head].method, "autoft", reach, keeps_id=True).mixed("autoft_wise", data, context)
