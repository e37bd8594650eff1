"""The labels of drawn splits: of every class alike or not, right or in part wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metaft.data.drawing.render import uniforms

Ints = NDArray[np.int64]


def classes_of(n: int, classes: int, imbalance: float = 1.0) -> Ints:
    """The classes of n images [N]; class c has a share that falls as imbalance^(-c / (classes - 1)).

    Args:
        imbalance: how many times more images the first class has than the last; 1: each in turn.

    Source: Cui et al., Class-balanced loss based on effective number of samples, CVPR 2019, section 5 (long tails).
    """
    if imbalance == 1.0:
        return np.arange(n) % classes
    shares = imbalance ** (-np.arange(classes) / (classes - 1))
    ends = np.round(np.cumsum(shares) / shares.sum() * n).astype(np.int64)
    return np.searchsorted(ends, np.arange(n), side="right").astype(np.int64)


def noisy(labels: Ints, classes: int, share: float, seed: int) -> Ints:
    """The labels [N], a share of them, drawn by seed, replaced by another class, each as likely as any."""
    r = uniforms(seed ^ 0x4015E, np.arange(len(labels)), 2).numpy()
    moved = (labels + 1 + (r[:, 1] * (classes - 1)).astype(np.int64)) % classes
    return np.where(r[:, 0] < share, moved, labels)
