"""Metrics against scikit-learn and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from metaft.metrics import METRICS, Gap, accuracy, predictions, score


def data(n: int = 500, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=g)
    return torch.randn(n, 5, generator=g) + torch.nn.functional.one_hot(labels, 5), labels


def test_against_scikit_learn():
    logits, labels = data()
    values, _ = score(logits, labels, 100, 0)
    predicted = logits.argmax(1)
    assert values["accuracy"] == accuracy(logits, labels) == pytest.approx(accuracy_score(labels, predicted))
    assert values["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_macro_f1_leaves_out_absent_classes():
    logits = torch.eye(4)[[0, 0, 1, 3]]
    labels = torch.tensor([0, 0, 1, 1])
    assert METRICS["macro_f1"](*predictions(logits), labels.numpy()) == pytest.approx((1 + 2 / 3) / 2)


def test_calibration_error_of_a_known_case():
    logits = torch.log(torch.tensor([[0.8, 0.2]])).repeat(10, 1)
    labels = torch.tensor([0] * 5 + [1] * 5)
    assert METRICS["ece"](*predictions(logits), labels.numpy()) == pytest.approx(0.3, abs=1e-6)


def test_interval_is_the_binomial_one():
    logits, labels = data(2000)
    values, intervals = score(logits, labels, 1000, 1)
    p = values["accuracy"]
    half = 1.96 * math.sqrt(p * (1 - p) / 2000)
    assert intervals["accuracy"] == pytest.approx((p - half, p + half), abs=0.006)
    assert np.all([low <= values[k] <= high for k, (low, high) in intervals.items() if k != "ece"])
    assert score(logits, labels, 1000, 1)[1] == intervals


def test_a_difference_beyond_two_standard_errors():
    """Of 100 images, 20 lost and none won: 20 points with an error of 4.02, against scipy's."""
    best, other = torch.ones(100, dtype=torch.bool), torch.arange(100) >= 20
    gap = Gap.between(best, other)
    assert (gap.mean, gap.error) == (pytest.approx(0.2), pytest.approx(stats.sem((~other).double().numpy())))
    assert gap.beyond(0.1) == pytest.approx(0.1 - 2 * gap.error)
    assert gap.beyond(0.121) == 0
    one = torch.ones(1, dtype=torch.bool)
    assert Gap.between(one, one) == Gap(0.0, 0.0)


def test_the_error_of_a_difference_that_goes_both_ways():
    """4 images won, 1 lost of 100: mean 0.03, sd^2 = (5 - 100 * 0.03^2) / 99."""
    numbers = torch.arange(100)
    gap = Gap.between(numbers >= 1, (numbers < 1) | (numbers >= 5))
    assert gap.mean == pytest.approx(0.03)
    assert gap.error == pytest.approx(math.sqrt((5 - 100 * 0.03**2) / 99) / 10)
