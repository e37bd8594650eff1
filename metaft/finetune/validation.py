"""How a method that has a choice to make judges models: by validation data."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import SearchData, Split
from metaft.finetune.context import FitContext
from metaft.metrics import accuracy

Score = tuple[float, float]


def accuracy_on(split: Split, model: Classifier, context: FitContext) -> float:
    """Accuracy on a split; its forward passes are on the bill."""
    context.bill_forward(len(split))
    return accuracy(predict(model, split, context.settings.eval_batch_size, context.settings.device), split.labels)


def validate(model: Classifier, data: SearchData, context: FitContext) -> Score:
    """Accuracy on ood_val, and on id_val for ties: the order in which every method compares its own candidates."""
    return accuracy_on(data.ood_val, model, context), accuracy_on(data.id_val, model, context)
