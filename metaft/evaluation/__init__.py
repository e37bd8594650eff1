"""Evaluation over named test splits, and the results file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
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


def save(results: Mapping[str, Any], path: Path) -> None:
    """Write JSON; the file is there whole or not at all, and numbers that are not finite become null."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(_finite(results), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
