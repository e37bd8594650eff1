"""dfr: the fine-tuned model with its last layer retrained on the OOD validation images."""

from __future__ import annotations

import numpy as np

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.regression import Floats, Head, Ints, featurised, fitted, regression, standardised, with_head

INVERSE_PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Logistic regression on the standardised features that `ft` gives of ood_val, in the place of its head.

    The penalty is chosen on one half of ood_val after a fit on the other; the chosen one is fitted to all of it. The
    penalty is the squared l2 norm, not the paper's l1, since features here are few.

    Source: Kirichenko, Izmailov and Wilson, Last layer re-training is sufficient for robustness to spurious
    correlations, ICLR 2023, section 4 (with `ood_val` as the reweighting data).
    """
    model = context.fitted("ft")
    x, y = featurised(model, data.ood_val, context)

    def regress(z: Floats) -> Head:
        strength = knobs_of("dfr", context)["inverse_penalty"]
        if strength is None:
            strength = _chosen(z, y, np.random.default_rng(context.settings.seed), context)
            context.chosen["inverse_penalty"] = strength
        return regression(z, y, strength, len(data.classes.names))

    return with_head(model, standardised(x, regress))


def _chosen(x: Floats, y: Ints, rng: np.random.Generator, context: FitContext) -> float:
    """The inverse penalty with the best accuracy on the held-out half, the smallest of equals."""
    order = rng.permutation(len(y))
    fit, held = order[::2], order[1::2]
    if len(np.unique(y[fit])) < 2 or len(held) == 0:
        return INVERSE_PENALTIES[-1]
    scores = {c: fitted(x[fit], y[fit], c).score(x[held], y[held]) for c in INVERSE_PENALTIES}
    chosen = max(reversed(INVERSE_PENALTIES), key=lambda c: scores[c])
    context.log({"method": "dfr", "inverse_penalty": chosen, "held_out_accuracy": scores[chosen]})
    return chosen
