"""Random search: the baseline that any other sampler has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from metaft.search.sampler import Told, Trial
from metaft.space import Space


class Uniform:
    """Uniform points of the unit cube; a proposal is a function of (seed, its number) alone."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space, self._seed = space, seed
        self._queue: list[dict[str, Any]] = []
        self._count = 0

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Propose this point before any drawn one."""
        self.space.to_unit(params)
        self._queue.append(dict(params))

    def observe(self, params: Mapping[str, Any], value: Told) -> None:
        """Nothing is learned."""

    def ask(self) -> Trial:
        """The next point."""
        number = self._count
        self._count += 1
        if self._queue:
            return Trial(number, self._queue.pop(0))
        draw = np.random.default_rng([self._seed, number]).random(len(self.space))
        return Trial(number, self.space.plain(torch.from_numpy(draw)))

    def tell(self, number: int, value: Told) -> None:
        """Nothing is learned."""
