"""How far apart to take the two values of a difference quotient: by the errors that several distances show."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from torch import Tensor

from metaft.config.limits import WIDEST

RATIO = 3.0  # between neighbouring spacings
FIRST = 0.1  # the first spacing, times the precision to the power of 1 / (order + 1)
TRIES = 8  # times that the spacing moves on
UNLIKE = 1 / 3  # the relative difference from which neighbours show no error but that


class Spacing(NamedTuple):
    """A spacing, and the relative error of what is taken with it."""

    spacing: float
    error: float


def usual(precision: float, order: int) -> float:
    """The spacing to begin with, where nothing is known but the precision."""
    return FIRST * float(precision ** (1 / (order + 1)))


def least_error(derivative: Callable[[float], Tensor], precision: float, order: int) -> Spacing:
    """The spacing x with the least error r / x + c x^order, and that error.

    The first part is by rounding, the second by curvature. Derivatives with spacings x and 3 x differ by r / x while
    rounding prevails, and by (3^order - 1) c x^order where curvature does. So spacings are tried in ratios of three,
    until neighbours differ less than those to their left and right, whose differences give r and c. Where values have
    more noise than their precision says, neighbours differ by chance, so that the next wider pair is looked at, too.

    Args:
        derivative: a tensor of derivatives that are taken with a spacing.
        precision: the relative precision of what is differenced.
        order: of the error by curvature: 2 of central differences, 1 of one-sided ones.

    Returns:
        The error is infinite where no two derivatives are finite.

    Source: Gill, Murray & Wright, Practical optimization, 1981, section 8.6 (the two errors and their balance).
    """
    first = usual(precision, order)

    @cache
    def taken(k: int) -> Tensor:
        return derivative(first * RATIO**k).double()

    @cache
    def gap(k: int) -> float:
        """The relative difference between derivatives with the spacings number k and k + 1."""
        if first * RATIO ** (k + 1) > WIDEST:
            return math.inf
        difference, length = float((taken(k + 1) - taken(k)).norm()), float(taken(k + 1).norm())
        return 0.0 if difference == 0 else difference / length if length > 0 and math.isfinite(difference) else math.inf

    best = 0
    for _ in range(TRIES):
        least = min((best, best - 1, best + 1), key=gap)
        least = least if gap(least) < gap(best) else best + 2
        if gap(least) >= gap(best):
            break
        best = least
    return _balanced(first * RATIO**best, gap(best), gap(best - 1), gap(best + 1), order)


def _balanced(x: float, gap: float, left: float, right: float, order: int) -> Spacing:
    """The best spacing between x and 3 x, from the gap there and those on its sides."""
    if gap == 0 or gap > UNLIKE:
        return Spacing(x, gap)
    rounding = left * x / RATIO
    bend = min(right, RATIO**order * gap) / ((RATIO**order - 1) * (RATIO * x) ** order)
    best = min(max((rounding / (order * bend)) ** (1 / (order + 1)), x), RATIO * x)
    return Spacing(best, rounding / best + bend * best**order)
