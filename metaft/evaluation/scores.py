"""Evaluation over named test splits."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.metrics import score
from metaft.results import Score


def evaluate(
    classifier: Classifier,
    tests: Mapping[str, Split],
    *,
    batch_size: int,
    resamples: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, Score]:
    """Every metric on every test split, with its interval over `resamples` bootstrap draws."""
    scores = {}
    for name, split in tests.items():
        values, intervals = score(predict(classifier, split, batch_size, device), split.labels, resamples, seed)
        scores[name] = Score(values, len(split), intervals)
    return scores
