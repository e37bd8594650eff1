"""Metrics against scikit-learn, torch and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from metaft.measures import Predictions
from metaft.metrics import METRICS, Gap, accuracy


def data(n: int = 500, seed: int = 0, classes: int = 5):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=g)
    return torch.randn(n, classes, generator=g) + F.one_hot(labels, classes), labels


def saying(confidence: torch.Tensor, right: torch.Tensor):
    """Logits of two classes that predict the first with these confidences, and labels by which they are right."""
    return torch.stack([confidence, 1 - confidence], dim=1).double().log(), (~right).long()


def test_against_scikit_learn_and_torch():
    logits, labels = data()
    predicted = logits.argmax(1)
    assert METRICS["accuracy"](logits, labels) == accuracy(logits, labels) == accuracy_score(labels, predicted)
    assert METRICS["macro_f1"](logits, labels) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert METRICS["mean_per_class"](logits, labels) == pytest.approx(balanced_accuracy_score(labels, predicted))
    nll = float(F.cross_entropy(logits.double(), labels))
    assert METRICS["nll"](logits, labels) == pytest.approx(nll, rel=1e-14)
    assert METRICS["nll"](torch.zeros(3, 7), torch.tensor([0, 3, 6])) == pytest.approx(math.log(7), rel=1e-14)


def test_classes_without_an_image_are_left_out():
    """As WILDS has it, labels=unique(y_true), and not as scikit-learn does by default."""
    logits, labels = torch.eye(4)[[0, 0, 1, 3]], torch.tensor([0, 0, 1, 1])
    predicted = logits.argmax(1)
    assert METRICS["macro_f1"](logits, labels) == pytest.approx((1 + 2 / 3) / 2)
    wilds = f1_score(labels, predicted, average="macro", labels=labels.unique())
    assert METRICS["macro_f1"](logits, labels) == pytest.approx(wilds)
    assert f1_score(labels, predicted, average="macro") == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert METRICS["mean_per_class"](logits, labels) == pytest.approx((1 + 1 / 2) / 2)


def test_the_worst_group():
    """By brute force; a group of one image counts, images in no group do not, and without groups the whole is one."""
    logits, labels = data(40)
    right = logits.argmax(1) == labels
    groups = torch.arange(40) % 3
    worst = METRICS["worst_group"]
    assert worst(logits, labels, groups) == pytest.approx(
        min(float(right[groups == g].double().mean()) for g in range(3))
    )
    assert worst(logits, labels) == accuracy(logits, labels)
    alone = torch.zeros(40, dtype=torch.long)
    alone[int(right.int().argmin())] = 4
    assert worst(logits, labels, alone) == 0
    outside = torch.where(alone == 4, -1, 0)
    assert worst(logits, labels, outside) == pytest.approx(float(right[outside == 0].double().mean()))


def test_calibration_error_of_a_known_case():
    logits, labels = saying(torch.full((10,), 0.8), torch.arange(10) < 5)
    for name in ("ece", "adaptive_ece"):
        assert METRICS[name](logits, labels) == pytest.approx(0.3, abs=1e-6)


def test_calibration_error_by_its_definition():
    """Bin by bin: 15 of equal width, closed below; 15 of 30 images each by rising confidence."""
    logits, labels = data(450, classes=7)
    confidence, predicted = (t.numpy() for t in logits.double().softmax(1).max(1))
    right = predicted == labels.numpy()

    def error(bins):
        return sum(len(b) / 450 * abs(right[b].mean() - confidence[b].mean()) for b in bins if len(b))

    widths = [np.flatnonzero((confidence >= b / 15) & (confidence < (b + 1) / 15)) for b in range(15)]
    assert METRICS["ece"](logits, labels) == pytest.approx(error(widths), rel=1e-12)
    masses = np.split(np.argsort(confidence), 15)
    assert METRICS["adaptive_ece"](logits, labels) == pytest.approx(error(masses), rel=1e-12)
    assert abs(error(widths) - error(masses)) > 1e-3, "the two differ here"


def test_adaptive_bins_do_not_depend_on_the_order_of_ties():
    """Of 40 images at one confidence the first half is right: each bin has the mean of them all."""
    logits, labels = saying(torch.full((40,), 0.75), torch.arange(40) < 20)
    assert METRICS["adaptive_ece"](logits, labels) == pytest.approx(0.25, abs=1e-6)
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert METRICS["adaptive_ece"](logits[shuffled], labels[shuffled]) == pytest.approx(0.25, abs=1e-6)


def test_few_images_have_bins_of_parts_of_them():
    """Of two images, each in 7.5 bins: at 0.6 and wrong, at 0.9 and right; one bin has half of each."""
    logits, labels = saying(torch.tensor([0.6, 0.9]), torch.tensor([False, True]))
    parted = (7 * 0.6 + 7 * 0.1 + (0.6 - 0.1) / 2) / 15
    assert METRICS["adaptive_ece"](logits, labels) == pytest.approx(parted, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_is_how_often_an_image_is_there(name):
    logits, labels = data(60)
    groups = torch.arange(60) % 4
    times = torch.randint(3, (60,), generator=torch.Generator().manual_seed(1))
    repeated = [part.repeat_interleave(times, dim=0) for part in (logits, labels, groups)]
    weighted = METRICS[name].weighted(Predictions.of(logits, labels, groups), times.double().numpy())
    assert weighted == pytest.approx(METRICS[name](*repeated), rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_better_is_higher_or_lower(name):
    """Of logits that are right and sure, and others that are sure and wrong."""
    labels = torch.arange(30) % 3
    good, bad = (20.0 * F.one_hot(said, 3) for said in (labels, (labels + 1) % 3))
    groups = torch.arange(30) % 2
    right, wrong = (METRICS[name](logits, labels, groups) for logits in (good, bad))
    assert (right > wrong) == METRICS[name].higher_is_better
    assert right != wrong
    assert not METRICS[name].share or (0 <= right <= 1 and 0 <= wrong <= 1)


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


def test_where_no_image_is_in_a_group_the_whole_is_one():
    logits, labels = torch.eye(4)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 3])
    assert METRICS["worst_group"](logits, labels, torch.full((4,), -1)) == 0.75
