"""dfr: the fine-tuned model with its last layer retrained on the OOD validation images."""

from __future__ import annotations

import numpy as np
import torch

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.regression import Featurised, Floats, Head, featurised, regression, standardised, with_head

INVERSE_PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Logistic regression on the standardised features that `ft` gives of ood_val, in the place of its head.

    The penalty is chosen on one half of ood_val after a fit on the other; the chosen one is fitted to all of it. The
    penalty is the squared l2 norm, not the paper's l1, since features here are few. The paper draws subsets in which
    all groups are alike large, and averages their layers; here nothing is balanced. A head that model.freeze keeps in
    `ft` is replaced all the same.

    Source: Kirichenko, Izmailov and Wilson, Last layer re-training is sufficient for robustness to spurious
    correlations, ICLR 2023, section 4 (with `ood_val` as the reweighting data).
    """
    model = context.fitted("ft")
    seen, classes = featurised(model, data.ood_val, context), len(data.classes.names)

    def regress(z: Floats) -> Head:
        strength = knobs_of("dfr", context)["inverse_penalty"]
        if strength is None:
            strength = _chosen(seen._replace(x=z), classes, context)
            context.chosen["inverse_penalty"] = strength
        return regression(z, seen.y, strength, classes)

    return with_head(model, standardised(seen.x, regress))


def _chosen(seen: Featurised, classes: int, context: FitContext) -> float:
    """The inverse penalty with the best metric on the held-out half, the smallest of equals.

    A group without an image there says nothing.
    """
    metric, rng = context.settings.metric, np.random.default_rng(context.settings.seed)
    order = torch.from_numpy(rng.permutation(len(seen.y)))
    fit, held = seen.at(order[::2]), seen.at(order[1::2])
    if len(np.unique(fit.y)) < 2 or len(held.y) == 0:
        return INVERSE_PENALTIES[-1]
    heads = {c: regression(fit.x, fit.y, c, classes) for c in INVERSE_PENALTIES}
    scores = {c: held.judged(head).score(metric) for c, head in heads.items()}
    chosen = max(reversed(INVERSE_PENALTIES), key=lambda c: scores[c])
    context.log({"method": "dfr", "inverse_penalty": chosen, f"held_out_{metric}": scores[chosen]})
    return chosen
