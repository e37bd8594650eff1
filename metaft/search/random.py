"""Random search: the baseline that any other sampler has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metaft.search.sampler import AskTell, History


class Uniform(AskTell):
    """Uniform points of the unit cube, whatever the history."""

    def propose(self, history: History, number: int) -> dict[str, Any]:
        """A uniform draw, in natural units, that depends on (seed, number) alone."""
        draw = np.random.default_rng([self._seed, number]).random(len(self.space))
        return self.space.plain(torch.from_numpy(draw))
