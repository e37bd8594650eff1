"""linear_probe_ood_val: the pretrained features with a last layer fitted to ID and OOD validation images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from statistics import fmean

import numpy as np

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.crossfit import together
from metaft.finetune.knobs import knobs_of
from metaft.finetune.regression import Featurised, Head, featurised, regression, standardised, with_head
from metaft.finetune.validation import Score, named

WEIGHTS = (1.0, 3.0, 10.0)
INVERSE_PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Logistic regression on the standardised features of id_train and ood_val together.

    The weight of an image of ood_val, beside 1 of id_train, and the inverse penalty C are chosen by the metric on
    ood_val, cross-validated, ties going to id_val. Where ood_val cannot be split, the weight is 1 and id_val chooses C.

    Source: Radford et al., ICML 2021, appendix A.3, on both sets; Kirichenko et al., ICLR 2023, for their weights.
    """
    labelled = [featurised(classifier, split, context) for split in (data.id_train, data.ood_val)]
    weight, penalty = _settled(classifier, data, labelled, context)
    return with_head(classifier, _head(labelled, weight, penalty, len(data.classes.names)))


def _settled(
    classifier: Classifier, data: SearchData, labelled: Sequence[Featurised], context: FitContext
) -> tuple[float, float]:
    """The knobs' values, those that are not set chosen on validation data."""
    knobs = knobs_of("linear_probe_ood_val", context)
    weight, penalty = knobs["weight"], knobs["inverse_penalty"]
    if weight is not None and penalty is not None:
        return weight, penalty
    (id_train, ood_val), classes, metric = labelled, len(data.classes.names), context.settings.metric
    id_val = featurised(classifier, data.id_val, context)
    folds = [(ood_val.at(fitting), ood_val.at(rows)) for fitting, rows in context.rows_by_fold(data.ood_val)]

    def score(pair: tuple[float, float]) -> Score:
        heads = [_head([id_train, fitting], *pair, classes) for fitting, _ in folds]
        apart = [held.judged(head) for head, (_, held) in zip(heads, folds, strict=True)]
        inside = fmean(id_val.judged(h).score(metric) for h in heads or [_head(labelled, *pair, classes)])
        return together(apart).score(metric) if apart else 0.0, inside

    weights = (weight,) if weight is not None else WEIGHTS if folds else (1.0,)
    pairs = list(product(weights, INVERSE_PENALTIES if penalty is None else (penalty,)))
    scores = {pair: score(pair) for pair in pairs}
    best = max(pairs, key=lambda pair: scores[pair])
    context.chosen.update(weight=best[0], inverse_penalty=best[1])
    said = named(*scores[best], context)
    if not folds:
        del said[f"ood_val_{metric}"]  # nothing has judged there
    context.log({"method": "linear_probe_ood_val", **context.chosen, **said})
    return best


def _head(labelled: Sequence[Featurised], weight: float, penalty: float, classes: int) -> Head:
    """The head fitted to features of id_train, each of weight 1, and of ood_val, each of weight `weight`."""
    x, y = np.concatenate([part.x for part in labelled]), np.concatenate([part.y for part in labelled])
    weights = np.concatenate([np.full(len(part.y), w) for part, w in zip(labelled, (1.0, weight), strict=True)])
    return standardised(x, lambda z: regression(z, y, penalty, classes, weights))
