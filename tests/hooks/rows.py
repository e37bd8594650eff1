"""Lists of random tensors of several shapes."""

from __future__ import annotations

import torch

KNOBS = {"kappa": 1.0, "speed": 0.1}


def tensors(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(s, generator=g, dtype=torch.float64) for s in ((5, 7), (9,), (4, 3, 2, 2))]


def added(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]
