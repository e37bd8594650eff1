"""What is wrong with the labels of an embedded suite's ID images on request: some are false, some classes are rare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metaft.data.drawing.render import uniforms

_ORDER_STREAM, _NOISE_STREAM = 0x7A11, 0x10E5E  # keep these draws apart from those of the pictures


def dealt(count: int, classes: int, imbalance: float, seed: int) -> NDArray[np.int64]:
    """The class of each image [count]: by turns, or where imbalance is above 1 mixed by the seed.

    Args:
        imbalance: how many times as many images the first class has as the last; between them the numbers decay
            exponentially (Cui et al., Class-Balanced Loss, CVPR 2019).
    """
    if imbalance == 1:
        return np.arange(count) % classes
    shares = imbalance ** (-np.arange(classes) / (classes - 1))
    ends = np.rint(count * shares.cumsum() / shares.sum()).astype(np.int64)
    sorted_classes = np.repeat(np.arange(classes), np.diff(ends, prepend=0))
    return sorted_classes[uniforms(seed ^ _ORDER_STREAM, np.arange(count), 1)[:, 0].numpy().argsort(kind="stable")]


def noisy(labels: NDArray[np.int64], classes: int, share: float, seed: int) -> NDArray[np.int64]:
    """Labels [N] of which a share, on average, is replaced by another class, each as likely; by image and seed."""
    r = uniforms(seed ^ _NOISE_STREAM, np.arange(len(labels)), 2).numpy()
    others = (labels + 1 + (r[:, 1] * (classes - 1)).astype(np.int64)) % classes
    return np.where(r[:, 0] < share, others, labels)
