"""Bootstrap intervals of metrics, and draws of what one model is above another, over images or whole groups of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metaft.measures import Floats, Ints, Predictions
from metaft.metrics import Metric

TAILS = (2.5, 97.5)  # the percentiles between which 95 % lie


def resamples(images: int, groups: Ints | None, draws: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn, [images], `draws` times.

    Images of a group are alike (of one camera, of one patient), so that they tell less than as many independent ones.
    Where there are groups, as many groups as there are are drawn with replacement, each with all its images;
    otherwise images are.

    Args:
        groups: the number of each image's group, [images]; None: images are independent.

    Source: Field and Welsh, Bootstrapping clustered data, Journal of the Royal Statistical Society B 69, 2007 (the
    cluster bootstrap); Cameron, Gelbach and Miller, The Review of Economics and Statistics 90, 2008, who find that
    with few groups, some 5 to 30, it claims too much.
    """
    rng = np.random.default_rng(seed)
    group_of = None if groups is None else np.unique(groups, return_inverse=True)[1]
    units = images if group_of is None else int(group_of.max()) + 1
    for _ in range(draws):
        times = np.bincount(rng.integers(units, size=units), minlength=units).astype(np.float64)
        yield times if group_of is None else times[group_of]


def intervals(
    metrics: Mapping[str, Metric], p: Predictions, groups: Ints | None, draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The 95 % percentile bootstrap interval of each metric; see `resamples`.

    A metric that is biased (the calibration errors upwards, the worst group downwards) is more so in a draw, whose
    images come several times, so that its interval need not hold its value.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, section 13.3.
    """
    weights = resamples(len(p.labels), groups, draws, seed)
    values = np.array([[metric.weighted(p, w) for metric in metrics.values()] for w in weights])
    low, high = np.percentile(values, TAILS, axis=0).tolist()
    return dict(zip(metrics, zip(low, high, strict=True), strict=True))


def gains(sizes: Ints, more: Ints, draws: int, seed: Sequence[int]) -> Floats:
    """What one model's accuracy is above another's by draw, [draws], where both judge the images that are drawn.

        sum_u t_u d_u / sum_u t_u n_u,   t ~ Multinomial(U; 1/U, ..., 1/U)

    A unit u is an image (n_u = 1), or a whole group of them as in `resamples`. Units that are alike are drawn together:
    of images there are three kinds. Where the one alone is right on b images and the other on c, the variance is that
    of McNemar's test, (b + c - (b - c)^2 / n) / n^2.

    Args:
        sizes: the images of each unit, n [U].
        more: of these, how many more the one has right than the other, d [U].

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, section 8.3 (one-sample problems from pairs);
    McNemar, Psychometrika 12, 1947.
    """
    kinds, counts = np.unique(np.stack([sizes, more]), axis=1, return_counts=True)
    times = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=draws)
    drawn: Floats = (times @ kinds[1]) / (times @ kinds[0])
    return drawn
