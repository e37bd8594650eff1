"""What metrics measure: functions of predictions, each of which counts a number of times."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BINS = 15  # of confidence, as in Guo et al.

# Formulas below are those of N images that count once; where image i counts w_i times, it enters sums w_i times, and N
# is sum_i w_i. So a draw of a bootstrap is no more than other weights.


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images of C classes, as far as metrics ask.

    Args:
        labels: [N].
        predicted: the class of the largest logit, [N].
        confidence: its probability, [N].
        loss: -log p of the label in nats, [N].
        classes: C.
        groups: the number of each image's group, [N]; -1: in none. None: no groups.
    """

    labels: Ints
    predicted: Ints
    confidence: Floats
    loss: Floats
    classes: int
    groups: Ints | None = None

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> Predictions:
        """From logits [N, C], labels [N] and groups [N]; probabilities are computed in float64."""
        log_p = logits.detach().double().log_softmax(dim=1)
        best, predicted = log_p.max(dim=1)
        loss = -log_p.gather(1, labels.to(log_p.device)[:, None])[:, 0]
        return cls(
            labels=labels.cpu().numpy(),
            predicted=predicted.cpu().numpy(),
            confidence=best.exp().cpu().numpy(),
            loss=loss.cpu().numpy(),
            classes=logits.shape[1],
            groups=None if groups is None else groups.cpu().numpy(),
        )

    def at(self, rows: Ints) -> Predictions:
        """Of these images [M] alone."""
        groups = None if self.groups is None else self.groups[rows]
        parts = (self.labels[rows], self.predicted[rows], self.confidence[rows], self.loss[rows])
        return Predictions(*parts, self.classes, groups)

    @cached_property
    def right(self) -> Floats:
        """1 where the prediction is the label, else 0, [N]."""
        return np.equal(self.predicted, self.labels).astype(np.float64)

    @cached_property
    def overconfidence(self) -> Floats:
        """Confidence minus right, [N]: what calibration errors add up within a bin."""
        return self.confidence - self.right

    @cached_property
    def bin(self) -> Ints:
        """The place of the confidence among `BINS` bins of equal width, [N]."""
        return np.minimum((self.confidence * BINS).astype(np.int64), BINS - 1)

    @cached_property
    def rank(self) -> Ints:
        """The place of the confidence among the different ones, ascending, [N]; ties share it."""
        rank: Ints = np.unique(self.confidence, return_inverse=True)[1]
        return rank


def packed(right: Floats) -> str:
    """Which of N images are right, [N] of 0 and 1, as base64 of one bit each, the first the highest of its byte.

    >>> packed(np.array([1.0, 0.0, 1.0]))
    'oA=='
    """
    return b64encode(np.packbits(right.astype(np.uint8)).tobytes()).decode()


def unpacked(text: str, images: int) -> Ints:
    """The inverse of `packed`.

    >>> unpacked("oA==", 3).tolist()
    [1, 0, 1]
    """
    return np.unpackbits(np.frombuffer(b64decode(text), np.uint8), count=images).astype(np.int64)


class _Counts(NamedTuple):
    """Weights summed by class that has an image: of images right, of those predicted to be of it, of those that are."""

    right: Floats
    predicted: Floats
    labelled: Floats

    @classmethod
    def of(cls, p: Predictions, w: Floats) -> _Counts:
        """By the predictions, each weighted, w [N]."""
        labelled = _sums(p.labels, w, p.classes)
        present = labelled > 0
        right, predicted = _sums(p.labels, w * p.right, p.classes), _sums(p.predicted, w, p.classes)
        return cls(right[present], predicted[present], labelled[present])


def _sums(places: Ints, values: Floats, size: int = 0) -> Floats:
    """The sum of the values [N] at each place, [size], or as many as the places [N] ask for."""
    return np.bincount(places, values, size).astype(np.float64, copy=False)


def once(images: int) -> Floats:
    """The weights of images that count once each, [images]."""
    return np.ones(images)


def accuracy(p: Predictions, w: Floats) -> float:
    """The share of right predictions: sum_i [right_i] / N."""
    return float(w @ p.right / w.sum())


def macro_f1(p: Predictions, w: Floats) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    Classes enter that have an image, others not even where they are predicted; such a prediction is a false negative
    of its image's class. That is scikit-learn's `f1_score` with `labels=unique(y_true)`, the rule of WILDS
    (`F1-macro_all` of iWildCam: Koh et al., ICML 2021); its default counts classes that are only predicted too, as 0.
    """
    n = _Counts.of(p, w)
    return float((2 * n.right / (n.predicted + n.labelled)).mean())


def mean_per_class(p: Predictions, w: Floats) -> float:
    """The mean over classes that have an image of the share of it that is right, also called balanced accuracy.

    Source: Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.
    """
    n = _Counts.of(p, w)
    return float((n.right / n.labelled).mean())


def worst_group(p: Predictions, w: Floats) -> float:
    """The lowest accuracy of a group; without groups, or an image in one, the whole is one.

    Every group that has an image counts, however few, and images in no group do not: so WILDS has its worst group, and
    its worst region of FMoW, which leaves out "Other". The lowest of noisy values tends to be too low.

    Source: Sagawa et al., Distributionally robust neural networks, ICLR 2020; Koh et al., WILDS, ICML 2021.
    """
    if p.groups is None:
        return accuracy(p, w)
    size, right = (_sums(p.groups + 1, values)[1:] for values in (w, w * p.right))
    if not (size > 0).any():
        return accuracy(p, w)
    return float((right[size > 0] / size[size > 0]).min())


def ece(p: Predictions, w: Floats) -> float:
    """Expected calibration error: sum_b n_b/N |acc_b - conf_b| over `BINS` bins of confidence of equal width.

    Bin b holds confidences in [b/B, (b+1)/B), the last one also 1. It is biased upwards, the more the fewer images.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, section 2.
    """
    return float(np.abs(_sums(p.bin, w * p.overconfidence)).sum() / w.sum())


def adaptive_ece(p: Predictions, w: Floats) -> float:
    """Calibration error over `BINS` bins of equal mass: sum_b n_b/N |acc_b - conf_b|, n_b = N/B by rising confidence.

    In bin b, n_b (conf_b - acc_b) = D((b+1) N/B) - D(b N/B), with D(m) the sum of confidence - right over the m least
    confident images. D is linear within an image and among images of one confidence, so that bins may part them and
    their order does not matter.

    Source: the bins are those of Nguyen and O'Connor, EMNLP 2015, who square the gaps; with absolute ones it
    is AdaECE of Mukhoti et al., NeurIPS 2020. ACE of Nixon et al. (CVPR workshops 2019) differs: it takes the
    probabilities of all classes.
    """
    mass = _sums(p.rank, w).cumsum()
    total = _sums(p.rank, w * p.overconfidence).cumsum()
    ends = np.interp(np.linspace(0, mass[-1], BINS + 1), np.append(0.0, mass), np.append(0.0, total))
    return float(np.abs(np.diff(ends)).sum() / mass[-1])


def nll(p: Predictions, w: Floats) -> float:
    """The negative log-likelihood in nats: the mean of -log p_i[label_i], cross-entropy."""
    return float(w @ p.loss / w.sum())
