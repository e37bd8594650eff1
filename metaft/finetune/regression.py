"""Logistic regression as the last layer of a classifier."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from metaft.clip.classifier import Classifier, holding
from metaft.clip.predict import image_features
from metaft.data.types import Split
from metaft.finetune.context import FitContext

ABSENT = -1e4  # the bias of a class without an image, which is then never predicted
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Head = tuple[Floats, Floats]  # weight [C, D] and bias [C]


def featurised(model: Classifier, split: Split, context: FitContext) -> tuple[Floats, Ints]:
    """A split's features [N, D] and labels [N]; the forward passes are added to the cost."""
    context.bill_forward(len(split))
    x = image_features(model, split, context.settings.eval_batch_size, context.settings.device)
    return x.double().numpy(), split.labels.numpy()


def fitted(x: Floats, y: Ints, strength: float, weights: Floats | None = None) -> LogisticRegression:
    """scikit-learn's regression with inverse penalty C = `strength` and a weight for each image [N], by default 1.

    It runs on one BLAS thread: on two cores, the threads of its many small products wait for one another, which takes
    thirty times as long.
    """
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # but classes
        return LogisticRegression(C=strength, max_iter=2000).fit(x, y, weights)


def regression(x: Floats, y: Ints, strength: float, classes: int, weights: Floats | None = None) -> Head:
    """A head with a row for each of `classes`; a regression on two gives one row, the difference of theirs.

    Args:
        strength, weights: as for `fitted`.
    """
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, ABSENT)
    present = np.unique(y)
    bias[present] = 0.0
    if len(present) > 1:
        rows = present[1:] if len(present) == 2 else present
        model = fitted(x, y, strength, weights)
        weight[rows], bias[rows] = model.coef_, model.intercept_
    return weight, bias


def accuracy_of(head: Head, x: Floats, y: Ints) -> float:
    """The accuracy of a head on features [N, D] with labels [N]."""
    weight, bias = head
    return float(((x @ weight.T + bias).argmax(axis=1) == y).mean())


def standardised(x: Floats, regress: Callable[[Floats], Head]) -> Head:
    """The head for features [N, D] as they are, from the one that `regress` fits to them standardised."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-8
    weight, bias = regress((x - mean) / deviation)
    weight = weight / deviation
    return weight, bias - weight @ mean


@torch.no_grad()
def with_head(model: Classifier, head: Head) -> Classifier:
    """A copy of a model with another head."""
    weight, bias = map(torch.from_numpy, head)
    return holding(model, {"head.weight": weight, "head.bias": bias})
