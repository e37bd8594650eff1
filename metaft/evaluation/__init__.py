"""Evaluation over named test splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.metrics import score


def evaluate(
    classifier: Classifier,
    tests: Mapping[str, Split],
    *,
    batch_size: int,
    resamples: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, Any]]:
    """Every metric on every test split, as results.json has it.

    Returns:
        {SPLIT: {METRIC: value, "n": images, "ci95": {METRIC: [low, high]}}}.
    """
    results: dict[str, dict[str, Any]] = {}
    for name, split in tests.items():
        logits = predict(classifier, split, batch_size, device)
        values, intervals = score(logits, split.labels, resamples, seed)
        results[name] = {**values, "n": len(split), "ci95": {k: list(v) for k, v in intervals.items()}}
    return results
