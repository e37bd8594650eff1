"""Logistic regression as the last layer of a classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from metaft.clip.classifier import Classifier
from metaft.clip.predict import image_features
from metaft.data.types import Split
from metaft.finetune.context import FitContext

ABSENT = -1e4  # the bias of a class without an image, which is then never predicted
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Head = tuple[Floats, Floats]  # weight [C, D] and bias [C]


def featurised(model: Classifier, split: Split, context: FitContext) -> tuple[Floats, Ints]:
    """A split's features [N, D] and labels [N]; the forward passes are on the bill."""
    context.bill_forward(len(split))
    x = image_features(model, split, context.settings.eval_batch_size, context.settings.device)
    return x.double().numpy(), split.labels.numpy()


def fitted(x: Floats, y: Ints, strength: float) -> LogisticRegression:
    """scikit-learn's regression with inverse penalty C = `strength`.

    One thread: its many small products are where BLAS threads wait for one another, thirty times as long on two cores.
    """
    with threadpool_limits(1, user_api="blas"):
        return LogisticRegression(C=strength, max_iter=2000).fit(x, y)


def regression(x: Floats, y: Ints, strength: float, classes: int) -> Head:
    """A full head; a regression of two classes gives one row, the difference of theirs."""
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, ABSENT)
    present = np.unique(y)
    bias[present] = 0.0
    if len(present) > 1:
        rows = present[1:] if len(present) == 2 else present
        model = fitted(x, y, strength)
        weight[rows], bias[rows] = model.coef_, model.intercept_
    return weight, bias


def standardised(x: Floats, regress: Callable[[Floats], Head]) -> Head:
    """The head for features [N, D] that `regress` makes of them standardised."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-8
    weight, bias = regress((x - mean) / deviation)
    weight = weight / deviation
    return weight, bias - weight @ mean


@torch.no_grad()
def with_head(model: Classifier, head: Head) -> Classifier:
    """A copy of a model with another head."""
    changed = copy.deepcopy(model)
    for parameter, values in zip((changed.head.weight, changed.head.bias), head, strict=True):
        parameter.copy_(torch.from_numpy(values))
    return changed
