"""Logistic regression as the last layer of a classifier."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from metaft.clip.classifier import Classifier, holding
from metaft.clip.predict import image_features
from metaft.data.types import Split
from metaft.finetune.context import FitContext
from metaft.finetune.crossfit import Judged

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Head = tuple[Floats, Floats]  # weight [C, D] and bias [C]


class Featurised(NamedTuple):
    """Features [N, D] of images, their labels [N], and the number of each one's domain or group, where they are told.

    Groups are those of `Split.told_apart`, [N].
    """

    x: Floats
    y: Ints
    groups: Tensor | None = None

    def at(self, rows: Tensor) -> Featurised:
        """Those of these images [M] alone."""
        groups = None if self.groups is None else self.groups[rows]
        return Featurised(self.x[rows.numpy()], self.y[rows.numpy()], groups)

    def judged(self, head: Head) -> Judged:
        """What a head says of them."""
        weight, bias = head
        return Judged(torch.from_numpy(self.x @ weight.T + bias), torch.from_numpy(self.y), self.groups)


def featurised(model: Classifier, split: Split, context: FitContext) -> Featurised:
    """A split's features; the forward passes are added to the cost."""
    context.bill_forward(len(split))
    x = image_features(model, split, context.settings.eval_batch_size, context.settings.device)
    groups = None if split.told_apart is None else split.told_apart.numbers
    return Featurised(x.double().numpy(), split.labels.numpy(), groups)


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

    A class without an image has one logit, min_i max_c z_ic - log(N + 1): of the N images here none is taken for it,
    and an image of it elsewhere costs a bounded loss, which no temperature has to make up for.

    Args:
        strength, weights: as for `fitted`.
    """
    weight, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
    present = np.unique(y)
    if len(present) > 1:
        rows = present[1:] if len(present) == 2 else present
        model = fitted(x, y, strength, weights)
        weight[rows], bias[rows] = model.coef_, model.intercept_
    highest = (x @ weight[present].T + bias[present]).max(axis=1)
    bias[np.setdiff1d(np.arange(classes), present)] = highest.min() - np.log(len(y) + 1)
    return weight, bias


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
