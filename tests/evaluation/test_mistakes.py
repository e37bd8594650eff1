"""What a report draws of a model's mistakes adds up to its metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from metaft.evaluation.mistakes import FREQUENT, SQUARE, calibration, confusion
from metaft.measures import Predictions, ece, once


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    return Predictions.of(3 * torch.randn(200, 6), torch.randint(6, (200,)))


def test_bins_add_up_to_the_calibration_error(drawn):
    bins = calibration(drawn)
    assert sum(n for n, _, _ in bins) == 200
    assert [sure for _, sure, _ in bins] == sorted(sure for _, sure, _ in bins)
    total = sum(n * abs(right - sure) for n, sure, right in bins) / 200
    assert total == pytest.approx(ece(drawn, once(200)), abs=1e-12)


def test_confusions_are_those_of_scikit_learn(drawn):
    matrix = np.zeros((6, 6), int)
    for label, said, n in confusion(drawn):
        matrix[label, said] = n
    np.testing.assert_array_equal(matrix, confusion_matrix(drawn.labels, drawn.predicted, labels=range(6)))
    counts = [n for _, _, n in confusion(drawn)]
    assert counts == sorted(counts, reverse=True)


def test_of_many_classes_the_most_frequent_errors_are_kept():
    classes, n = SQUARE + 70, 2000
    torch.manual_seed(0)
    labels = torch.randint(classes, (n,))
    said = torch.where(torch.rand(n) < 0.5, labels, torch.randint(classes, (n,)))
    cells = confusion(Predictions.of(torch.nn.functional.one_hot(said, classes).float(), labels))
    assert len(cells) == FREQUENT
    assert all(label != other for label, other, _ in cells)
    wrong = labels[said != labels] * classes + said[said != labels]
    assert [n for *_, n in cells] == sorted(torch.bincount(wrong).tolist(), reverse=True)[:FREQUENT]
