"""Drift in closed form."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from metaft.build.fits import drift
from metaft.clip.predict import image_features
from metaft.evaluation.drift import feature_drift, weight_drift


def test_weights_by_group(work):
    moved = copy.deepcopy(work.classifier)
    with torch.no_grad():
        moved.head.bias.add_(0.5)
        moved.clip.visual.conv1.weight[0, 0, 0, :2] += torch.tensor([3.0, 4.0])
    distances = weight_drift(work.classifier, moved)
    head = 0.5 * math.sqrt(len(moved.head.bias))
    assert distances["head"] == pytest.approx(head)
    assert distances["stem"] == pytest.approx(5, rel=1e-5)
    assert distances["all"] == pytest.approx(math.hypot(head, 5), rel=1e-5)
    assert distances["block.0.attn"] == 0
    assert {"stem", "head", "text", *(f"block.{i}.{part}" for i in range(4) for part in ("attn", "mlp"))} < set(
        distances
    )


def test_features(work):
    """Turned features: unit vectors and their negatives are 4 apart, the same ones 0."""
    turned = copy.deepcopy(work.classifier)
    with torch.no_grad():
        turned.clip.visual.proj.neg_()
    here, there = (image_features(model, work.splits.id_val, 25) for model in (work.classifier, turned))
    assert here.shape == (60, work.classifier.head.in_features)
    assert feature_drift(here, there) == pytest.approx(4, rel=1e-5)
    assert feature_drift(here, here) == 0


def test_of_a_run(work):
    moved = drift(work)(work.classifier)
    assert moved["features"] == {"id_val": 0, "ood_val": 0}
    assert set(moved["weights"].values()) == {0}
