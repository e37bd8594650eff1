"""best_by_ood_val: the plain method with the best cross-fitted metric on ood_val."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext
from metaft.finetune.validation import Score, named, score_on


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """What a careful person would ship: of the plain methods compared, the best on ood_val, ties going to id_val.

    No image of ood_val judges a model that was trained on it (see `metaft.finetune.fits.Fits.judged`). A method that
    cannot be judged so, or diverges, is passed over; theta_0 is left where all are.

    Source: model selection by OOD validation data, Gulrajani and Lopez-Paz, In search of lost domain generalization,
    ICLR 2021, section 3 (with cross-fitting: Chernozhukov et al., The Econometrics Journal, 2018).
    """
    scores = {name: score for name in context.settings.plain_methods if (score := _score(name, data, context))}
    best = context.chosen["method"] = max(scores, key=lambda name: scores[name], default="zero_shot")
    for name, score in scores.items():
        event = {"candidate": name, **named(*score, context), "chosen": name == best}
        context.log({"method": "best_by_ood_val", **event})
    return context.fitted(best)


def _score(name: str, data: SearchData, context: FitContext) -> Score | None:
    """The metric, cross-fitted on ood_val, and on id_val; None: there is none."""
    try:
        model, judged = context.fitted(name), context.judged(name)
    except DivergedError:
        return None
    if judged is None:
        return None
    context.bill_forward(len(data.ood_val))
    return judged.score(context.settings.metric), score_on(data.id_val, model, context)
