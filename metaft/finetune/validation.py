"""Judging models by validation data, for methods that choose among several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, Split
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext
from metaft.finetune.crossfit import Apart, Judged, judge, judge_whole, told
from metaft.finetune.methods import PLAIN
from metaft.metrics import ID_PRICE, Gap

Score = tuple[float, float]


def judged_on(split: Split, model: Classifier, context: FitContext) -> Judged:
    """What a model says of a split; its forward passes are added to the cost."""
    context.bill_forward(len(split))
    return judge_whole(model, split, context.settings.eval_batch_size, context.settings.device)


def score_on(split: Split, model: Classifier, context: FitContext) -> float:
    """The metric of the settings on a split, the higher the better; its forward passes are added to the cost."""
    return judged_on(split, model, context).score(context.settings.metric)


def drop_price(of_ft: Tensor, right: Tensor, limit: float | None) -> float:
    """What counts against a model for its loss in distribution: `ID_PRICE` times what id_val shows beyond a limit.

        ID_PRICE * max(0, accuracy of ft - its own - 2 standard errors of that - limit)

    Args:
        of_ft, right: whether ft and the model are right on each image of id_val, [N].
        limit: a share; None: nothing counts.
    """
    return 0.0 if limit is None else ID_PRICE * Gap.between(of_ft, right).beyond(limit)


def id_price(id_val: Split, context: FitContext) -> Callable[[Tensor], float]:
    """From whether a model is right on each image of id_val, [N], to what counts against it (see `drop_price`).

    Nothing does without a limit in the settings, or where plain fine-tuning diverges.
    """
    limit = context.settings.id_drop_max
    if limit is None:
        return lambda right: 0.0
    try:
        of_ft = judged_on(id_val, context.fitted(PLAIN), context).correct
    except DivergedError:
        return lambda right: 0.0
    return lambda right: drop_price(of_ft, right, limit)


def weighing(data: SearchData, context: FitContext) -> Callable[[Judged, Tensor], float]:
    """From what a model says of ood_val, and whether it is right on each image of id_val, to its worth, a share.

        score of theta_0 on ood_val + mean of its gains over it - what is lost on id_val

    The score is the metric of the settings; see `metaft.finetune.crossfit.told` and `drop_price`.
    """
    theta_0, price = context.judged("zero_shot"), id_price(data.id_val, context)
    assert theta_0 is not None, "it trains on no image of ood_val"
    return lambda judged, right: told(judged, theta_0, context.settings.metric) - price(right)


def judged_apart(parts: Sequence[Apart], context: FitContext) -> Judged:
    """What models say of the images of ood_val that they are apart from; added to the cost."""
    context.bill_forward(sum(len(part.rows) for part in parts))
    return judge(parts, context.settings.eval_batch_size, context.settings.device)


def named(ood_val: float, id_val: float, context: FitContext) -> dict[str, float]:
    """The metric on ood_val and on id_val under its names in metrics.jsonl, as `ood_val_accuracy`."""
    metric = context.settings.metric
    return {f"ood_val_{metric}": ood_val, f"id_val_{metric}": id_val}


def validate(model: Classifier, data: SearchData, context: FitContext) -> Score:
    """The metric on ood_val, and on id_val for ties: the order in which every method compares its candidates."""
    return score_on(data.ood_val, model, context), score_on(data.id_val, model, context)
