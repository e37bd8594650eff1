"""Where a model is wrong and how sure it is, as few numbers: what a report draws, and no test picture."""

from __future__ import annotations

import numpy as np

from metaft.measures import BINS, Predictions

SQUARE = 30  # classes, up to which every confusion is counted; beyond, and only errors, the most frequent
FREQUENT = 60  # of them


def calibration(p: Predictions) -> tuple[tuple[int, float, float], ...]:
    """Images, mean confidence and accuracy of each bin of confidence that has images, by rising confidence.

    The bins are those of `metaft.measures.ece`, which is sum_b n_b/N |accuracy_b - confidence_b| of them.

    Source: the reliability diagram of Guo et al., On calibration of modern neural networks, ICML 2017, section 2.
    """
    counts = np.bincount(p.bin, minlength=BINS)
    sure, right = (np.bincount(p.bin, values, minlength=BINS) for values in (p.confidence, p.right))
    return tuple((int(n), float(sure[b] / n), float(right[b] / n)) for b, n in enumerate(counts) if n)


def confusion(p: Predictions) -> tuple[tuple[int, int, int], ...]:
    """(label, predicted class, images), by falling number of images.

    Up to `SQUARE` classes all that occur, with those that are right; of more classes the `FREQUENT` errors alone.
    """
    cells, counts = np.unique(np.stack([p.labels, p.predicted]), axis=1, return_counts=True)
    rows = [(int(label), int(said), int(n)) for (label, said), n in zip(cells.T, counts, strict=True)]
    if p.classes > SQUARE:
        rows = [row for row in rows if row[0] != row[1]]
    rows.sort(key=lambda row: -row[2])
    return tuple(rows if p.classes <= SQUARE else rows[:FREQUENT])
