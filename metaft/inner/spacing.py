"""Difference quotients, and how far apart to take their two values: by the errors that several distances show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from metaft.config.limits import WIDEST
from metaft.shards import Whole
from metaft.tensors import Tensors, used_up

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


@dataclass(frozen=True)
class Ruler:
    """Derivatives along a direction, from values at theta and e a away from it.

    Args:
        one_sided: whether those at theta stand in for those behind.
        spacing: e |a| / |theta|.
        layout: how tensors are held.
    """

    one_sided: bool
    spacing: float
    layout: Whole

    def along(
        self, values: Callable[[Tensors], Tensors], here: Tensors, params: Sequence[Tensor], a: Sequence[Tensor]
    ) -> Tensors:
        """The derivatives along a of values that are `here` at params."""
        length = self._length(a)
        if not 0 < length < math.inf:  # nothing to go along, or nothing that is finite
            return [x * length for x in here]
        e = self.spacing * max(self._length(params), torch.finfo(torch.float32).tiny) / length
        ahead = values(self._point(params, a, e))
        behind, width = (here, e) if self.one_sided else (values(self._point(params, a, -e)), 2 * e)
        return used_up(lambda x, y: (x - y) / width, list(ahead), list(behind))

    def _point(self, params: Sequence[Tensor], along: Sequence[Tensor], e: float) -> Tensors:
        """theta + e a."""
        return list(torch._foreach_add([p.detach() for p in params], list(along), alpha=e))

    def _length(self, tensors: Sequence[Tensor]) -> float:
        """The length of a list of tensors as one vector; in float64 where squares leave their range."""
        held = [x.detach() for x in tensors]
        for dtype in (None, torch.float64):
            found = float(self.layout.norm(torch.stack(torch._foreach_norm(held, dtype=dtype)).double().norm()))
            if 0 < found < math.inf:
                break
        return found
