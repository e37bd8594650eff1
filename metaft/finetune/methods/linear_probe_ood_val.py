"""linear_probe_ood_val: the pretrained features with a last layer fitted to ID and OOD validation images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from statistics import fmean

import numpy as np

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.regression import Floats, Head, Ints, accuracy_of, featurised, regression, standardised, with_head
from metaft.finetune.validation import Score

WEIGHTS = (1.0, 3.0, 10.0)
INVERSE_PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
Labelled = tuple[Floats, Ints]  # features [N, D] and labels [N]


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Logistic regression on the standardised features of id_train and ood_val together.

    The weight of an image of ood_val, beside 1 of id_train, and the inverse penalty C are chosen by cross-validated
    accuracy on ood_val, ties going to id_val. Where ood_val cannot be split, the weight is 1 and id_val chooses C.

    Source: Radford et al., ICML 2021, appendix A.3, on both sets; Kirichenko et al., ICLR 2023, for their weights.
    """
    labelled = [featurised(classifier, split, context) for split in (data.id_train, data.ood_val)]
    weight, penalty = _settled(classifier, data, labelled, context)
    return with_head(classifier, _head(labelled, weight, penalty, len(data.classes.names)))


def _settled(
    classifier: Classifier, data: SearchData, labelled: Sequence[Labelled], context: FitContext
) -> tuple[float, float]:
    """The knobs' values, those that are not set chosen on validation data."""
    knobs = knobs_of("linear_probe_ood_val", context)
    weight, penalty = knobs["weight"], knobs["inverse_penalty"]
    if weight is not None and penalty is not None:
        return weight, penalty
    (id_train, (x, y)), classes = labelled, len(data.classes.names)
    id_val = featurised(classifier, data.id_val, context)
    folds = [tuple(r.numpy() for r in rows) for rows in context.rows_by_fold(data.ood_val)]

    def score(pair: tuple[float, float]) -> Score:
        heads = [_head([id_train, (x[fitting], y[fitting])], *pair, classes) for fitting, _ in folds]
        judging = [(x[rows], y[rows]) for _, rows in folds]
        right = sum(accuracy_of(h, *held) * len(held[1]) for h, held in zip(heads, judging, strict=True))
        return right / len(y), fmean(accuracy_of(h, *id_val) for h in heads or [_head(labelled, *pair, classes)])

    weights = (weight,) if weight is not None else WEIGHTS if folds else (1.0,)
    pairs = list(product(weights, INVERSE_PENALTIES if penalty is None else (penalty,)))
    scores = {pair: score(pair) for pair in pairs}
    best = max(pairs, key=lambda pair: scores[pair])
    context.chosen.update(weight=best[0], inverse_penalty=best[1])
    context.log({"method": "linear_probe_ood_val", **context.chosen, "ood_val_accuracy": scores[best][0]})
    return best


def _head(labelled: Sequence[Labelled], weight: float, penalty: float, classes: int) -> Head:
    """The head fitted to features of id_train, each of weight 1, and of ood_val, each of weight `weight`."""
    x, y = (np.concatenate(parts) for parts in zip(*labelled, strict=True))
    weights = np.concatenate([np.full(len(part), w) for (_, part), w in zip(labelled, (1.0, weight), strict=True)])
    return standardised(x, lambda z: regression(z, y, penalty, classes, weights))
