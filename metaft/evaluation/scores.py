"""Evaluation over named test splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.evaluation.bootstrap import intervals
from metaft.evaluation.mistakes import calibration, confusion
from metaft.measures import Ints, Predictions, once, packed
from metaft.metrics import METRICS
from metaft.score import Score


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
    return {
        name: score(predict(classifier, split, batch_size, device), split, resamples, seed)
        for name, split in tests.items()
    }


def score(logits: Tensor, split: Split, resamples: int, seed: int) -> Score:
    """Every metric of logits [N, C] on a split's images, together and by domain, and the mistakes of all together.

    Intervals draw whole groups where the images are of two or more, else images. The worst group is that of
    `Split.parts`: of the domains, or of the groups where no domains are told apart; without either there is none.
    Which images are right is kept, so that two models can be compared image by image.
    """
    parts, groups = split.parts, None if split.groups is None else split.groups.numbers.numpy()
    p = Predictions.of(logits, split.labels, None if parts is None else parts.numbers)
    whole = replace(_score(p, groups, resamples, seed), calibration=calibration(p), confusion=confusion(p))
    whole = _with_images(whole, p, groups)
    if parts is None or parts is not split.domains:
        return whole

    def inside(domain: int) -> Score:
        rows = (parts.numbers == domain).nonzero()[:, 0].numpy()
        return _score(replace(p.at(rows), groups=None), None if groups is None else groups[rows], resamples, seed)

    return replace(whole, by_domain={parts.names[domain]: inside(domain) for domain in parts.present})


def _with_images(whole: Score, p: Predictions, groups: Ints | None) -> Score:
    """The score with what it says of each image, those of a group beside each other where intervals draw groups."""
    if groups is None or not whole.groups:
        return replace(whole, right=packed(p.right))
    sizes = np.unique(groups, return_counts=True)[1].tolist()
    return replace(whole, right=packed(p.right[np.argsort(groups, kind="stable")]), sizes=tuple(sizes))


def _score(p: Predictions, groups: Ints | None, resamples: int, seed: int) -> Score:
    """Every metric that can be told, and its interval."""
    metrics = {name: metric for name, metric in METRICS.items() if p.groups is not None or not metric.by_group}
    if groups is not None and np.ptp(groups) == 0:  # one alone has no others to be drawn in its place
        groups = None
    n = len(p.labels)
    return Score(
        metrics={name: metric.weighted(p, once(n)) for name, metric in metrics.items()},
        n=n,
        ci95=intervals(metrics, p, groups, resamples, seed),
        groups=0 if groups is None else len(np.unique(groups)),
    )
