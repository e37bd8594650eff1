"""linear_probe: the pretrained features with a new last layer."""

from __future__ import annotations

from functools import partial

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.regression import featurised, regression, standardised, with_head
from metaft.finetune.validation import named

INVERSE_PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Logistic regression on id_train's standardised features; its inverse penalty C is chosen on validation data.

    Of equals by the metric on ood_val it is the best by that on id_val.

    Source: Radford et al., ICML 2021, appendix A.3 (there C is swept on validation data too).
    """
    x, y, _ = featurised(classifier, data.id_train, context)
    classes, penalty = len(data.classes.names), knobs_of("linear_probe", context)["inverse_penalty"]
    if penalty is not None:
        return with_head(classifier, standardised(x, partial(regression, y=y, strength=penalty, classes=classes)))
    ood_val, id_val = (featurised(classifier, split, context) for split in (data.ood_val, data.id_val))
    heads = {c: standardised(x, partial(regression, y=y, strength=c, classes=classes)) for c in INVERSE_PENALTIES}
    metric = context.settings.metric
    scores = {c: (ood_val.judged(head).score(metric), id_val.judged(head).score(metric)) for c, head in heads.items()}
    chosen = context.chosen["inverse_penalty"] = max(scores, key=lambda c: scores[c])
    context.log({"method": "linear_probe", "inverse_penalty": chosen, **named(*scores[chosen], context)})
    return with_head(classifier, heads[chosen])
