"""Descent in the unit cube on noisy hypergradients: step lengths and directions from gradients alone."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from metaft.config.schema import DescentConfig

NORMAL = 0.6745  # median of |x| for a standard normal x
GROWTH = 1.5  # of a trust region that explosions have shrunk
PILOT = 2  # hypergradients at the first point: the fewest that show their noise
WINDOW = 10  # outer steps over which noise and gain are compared


class Descent:
    """A descent, whose state is a function of the gradients it was given, so that a journal restores it.

    With m and s^2 the mean and the variance of a coordinate's gradients, both weighted by `momentum`, and w the sum of
    the squared weights, s^2 w is the variance of the mean. A coordinate moves by

        -lr_t max(0, 1 - s^2 w / m^2) m / sqrt(m^2 + s^2)

    that is by Adam's step, shrunk by how much of the mean may be noise: a mean that cannot be told from 0 does not
    count. An explosion (a derivative that is not finite or too long, or a run that diverged) moves nothing: the descent
    goes back to the last point with a usable derivative and halves its trust region, which grows again with every step.

    Source: the shrinkage is James and Stein's with positive part, coordinate by coordinate (Efron and Morris, 1973);
    the step is that of Kingma and Ba, Adam, 2015, with one decay for both moments.
    """

    def __init__(self, start: Tensor, how: DescentConfig) -> None:
        self.u = start.clone().double()
        self.points: list[Tensor] = []
        self.explosions = 0
        self._settings, self._good, self._radius = how, self.u, how.lr
        self._m, self._v = torch.zeros_like(self.u), torch.zeros_like(self.u)
        self._weight, self._squares, self._count = 0.0, 0.0, 0
        self._pending: list[Tensor] = []
        self._values: list[float] = []
        self._gains: list[float] = []

    def take(self, gradient: Tensor, value: float) -> None:
        """Learn from a hypergradient [K] at `u`, and take the outer step if it was the last one that it needs."""
        norm = float(gradient.norm())
        if not (math.isfinite(norm) and math.isfinite(value) and norm <= self._settings.explosion):
            self.explosions += 1
            self._radius /= 2
            self.u = self._good
            return
        self._values.append(value)
        self._remember(gradient * min(1.0, self._settings.clip / max(norm, 1e-12)))
        self._pending.append(gradient)
        if len(self._pending) >= self.needed:
            self._move()

    @property
    def needed(self) -> int:
        """The number of hypergradients that the current outer step takes."""
        return max(self._settings.average, PILOT) if not self.points else self._settings.average

    def _remember(self, g: Tensor) -> None:
        keep = self._settings.momentum
        self._m, self._v = keep * self._m + (1 - keep) * g, keep * self._v + (1 - keep) * g * g
        self._weight = keep * self._weight + (1 - keep)
        self._squares = keep**2 * self._squares + (1 - keep) ** 2

    def _move(self) -> None:
        m, v = self._m / self._weight, self._v / self._weight
        w = self._squares / self._weight**2
        s2 = (v - m * m).clamp_min(0) / (1 - w)
        sure = (1 - s2 * w / (m * m).clamp_min(1e-30)).clamp_min(0)
        rate = self._radius / math.sqrt(1 + len(self.points) / self._settings.decay)
        before = self._good = self.u
        self.points.append(before)
        self.u = (before - rate * sure * m / (m * m + s2 + 1e-30).sqrt()).clamp(0, 1)
        self._radius = min(self._settings.lr, GROWTH * self._radius)
        self._gains.append(float(m @ (before - self.u).nan_to_num()))  # an absent dimension has NaN
        self._pending.clear()

    @property
    def settled(self) -> bool:
        """Whether a window of further steps would gain less than the noise of a window's mean value.

        The gain is what the mean gradients promise to first order. The noise comes from the median difference of
        successive values, which a single steep descent among them does not raise. A descent that has met a window of
        explosions before its first step is over, too: it would ask at the same point for ever.
        """
        if not self.points:
            return self.explosions >= WINDOW
        if len(self.points) < WINDOW:
            return False
        last = self._values[-WINDOW:]
        deviation = median(abs(b - a) for a, b in pairwise(last)) / (NORMAL * math.sqrt(2))
        noise = deviation / math.sqrt(WINDOW)
        return sum(self._gains[-WINDOW:]) < noise

    @property
    def mean(self) -> Tensor:
        """The mean [K] of the points in the second half, where the noise of single steps is averaged out.

        Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.
        """
        return torch.stack([*self.points[len(self.points) // 2 :], self.u]).mean(dim=0)
