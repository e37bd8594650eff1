"""Bootstrap intervals: the binomial one, those of groups, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from metaft.evaluation.bootstrap import TAILS, gains, intervals, resamples
from metaft.measures import Predictions
from metaft.metrics import METRICS
from tests.test_metrics import data

ACCURACY = {"accuracy": METRICS["accuracy"]}


def of_right(right: np.ndarray) -> Predictions:
    """Predictions of two classes of which these are right."""
    labels = np.zeros(len(right), np.int64)
    return Predictions(labels, 1 - right.astype(np.int64), np.ones(len(right)), np.zeros(len(right)), 2)


def test_an_interval_is_the_binomial_one():
    p = Predictions.of(*data(2000))
    found = intervals(METRICS, p, None, 1000, 1)
    share = p.right.mean()
    half = 1.96 * math.sqrt(share * (1 - share) / 2000)
    assert found["accuracy"] == pytest.approx((share - half, share + half), abs=0.006)
    unbiased = [name for name in METRICS if "ece" not in name]
    assert all(
        low <= METRICS[n].weighted(p, np.ones(2000)) <= high for n, (low, high) in found.items() if n in unbiased
    )
    assert intervals(METRICS, p, None, 1000, 1) == found, "the same draws by the same seed"
    assert intervals(METRICS, p, None, 1000, 2) != found


def test_draws_take_whole_groups():
    groups = np.array([7, 7, 2, 2, 2, 5])
    for times in resamples(6, groups, 20, 0):
        assert times[0] == times[1]
        assert times[2] == times[3] == times[4]
        assert times[0] + times[2] + times[5] == 3, "as many groups as there are"
    assert all(times.sum() == 6 for times in resamples(6, None, 20, 0))


def test_copies_of_an_image_tell_nothing_more():
    """Ten copies of each image, as a group, have the interval of one; taken as independent, far too narrow a one."""
    logits, labels = data(90)
    alone = intervals(METRICS, Predictions.of(logits, labels), None, 200, 3)
    copies = Predictions.of(logits.repeat(10, 1), labels.repeat(10))
    grouped = intervals(METRICS, copies, np.tile(np.arange(90), 10), 200, 3)
    for name, ends in alone.items():
        assert grouped[name] == pytest.approx(ends, rel=1e-9), name
    width = {kind: np.ptp(found["accuracy"]) for kind, found in (("alone", alone), ("grouped", grouped))}
    independent = np.ptp(intervals(ACCURACY, copies, None, 1000, 3)["accuracy"])
    assert width["grouped"] / independent == pytest.approx(10**0.5, rel=0.2)


def test_how_often_intervals_hold_the_truth():
    """40 cameras of 20 images, with accuracies around 0.7: whole cameras must be drawn.

    By the design effect 1 + (m - 1) rho (Kish, 1965; rho = var(q_g) / (q (1 - q)), m = 20) intervals over images are
    half as wide as they should be.
    """
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 20)
    held = {"groups": 0, "images": 0}
    widths = {"groups": [], "images": []}
    for seed in range(150):
        q = rng.beta(0.7 * 4, 0.3 * 4, size=40)  # mean 0.7, rho = 1 / (4 + 1)
        p = of_right(rng.random(800) < q[groups])
        for kind, drawn in (("groups", groups), ("images", None)):
            low, high = intervals(ACCURACY, p, drawn, 200, seed)["accuracy"]
            held[kind] += low <= 0.7 <= high
            widths[kind].append(high - low)
    assert 0.87 <= held["groups"] / 150 <= 1
    assert held["images"] / 150 <= 0.75
    effect = 1 + 19 / 5
    assert np.mean(widths["groups"]) / np.mean(widths["images"]) == pytest.approx(effect**0.5, rel=0.1)


def test_independent_images_need_no_groups():
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(150):
        low, high = intervals(ACCURACY, of_right(rng.random(200) < 0.7), None, 200, seed)["accuracy"]
        held += low <= 0.7 <= high
    assert 0.89 <= held / 150 <= 1


def test_groups_of_one_image_are_images():
    p = Predictions.of(*data(50))
    assert intervals(METRICS, p, torch.arange(50).numpy(), 100, 0) == intervals(METRICS, p, None, 100, 0)


ONE = np.ones(500, np.int64)


@pytest.mark.parametrize(("b", "c"), [(40, 10), (5, 5), (200, 180), (0, 30)])
def test_a_difference_varies_as_mcnemar_says(b, c):
    """Of 100,000 draws the standard deviation is known to 0.3 % or so."""
    more = np.repeat([1, -1, 0], [b, c, 500 - b - c])
    drawn = gains(ONE, more, 100_000, [0])
    variance = (b + c - (b - c) ** 2 / 500) / 500**2
    assert drawn.mean() == pytest.approx((b - c) / 500, abs=5 * math.sqrt(variance / 1e5))
    assert drawn.std() == pytest.approx(math.sqrt(variance), rel=0.02)


def test_models_that_are_alike_differ_by_nothing():
    assert not gains(ONE, 0 * ONE, 100, [0]).any()


def test_a_difference_is_that_of_the_accuracies_in_each_draw_of_groups():
    """The law is that of `resamples` on the same images, whose groups are of many sizes."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), rng.integers(1, 20, size=30))
    easy = rng.random(30)[groups]
    one, other = (rng.random(len(groups)) < np.clip(easy + more, 0, 1) for more in (0.2, 0.0))
    expected = [
        np.average(one, weights=w) - np.average(other, weights=w) for w in resamples(len(one), groups, 20_000, 0)
    ]
    sizes, more = np.bincount(groups), np.bincount(groups, one.astype(float) - other).astype(np.int64)
    drawn = gains(sizes, more, 20_000, [1])
    width = np.ptp(np.percentile(expected, TAILS))
    assert np.percentile(drawn, TAILS) == pytest.approx(np.percentile(expected, TAILS), abs=0.03 * width)


def test_how_often_intervals_of_differences_hold_the_truth():
    """Models that agree on 84 % of 300 images: paired intervals hold 95 %, those of independent errors all but all."""
    rng, held, wide = np.random.default_rng(0), 0, 0
    for seed in range(400):
        kind = rng.choice([1, -1, 0], p=[0.1, 0.06, 0.84], size=300)
        low, high = np.percentile(gains(ONE[:300], kind, 1000, [seed]), TAILS)
        held += low <= 0.04 <= high
        half = 1.96 * math.sqrt(2 * 0.7 * 0.3 / 300)  # of two accuracies of 70 % or so
        wide += abs(kind.mean() - 0.04) <= half
    assert 0.92 <= held / 400 <= 0.98
    assert wide / 400 > 0.99
