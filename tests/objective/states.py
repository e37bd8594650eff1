"""Random states of a training step."""

from __future__ import annotations

import torch

from metaft.objective.state import StepState

B, C, D = 6, 4, 5


def state(seed: int = 0, b: int = B, c: int = C) -> StepState:
    """A random state in float64, away from every kink."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def unit(*shape):
        return torch.nn.functional.normalize(normal(*shape), dim=-1)

    reference = (normal(b, c), unit(b, D))
    params = {"a.weight": normal(3, 2), "b.bias": normal(4)}
    return StepState(
        logits=2 * normal(b, c),
        image_features=unit(b, D),
        labels=torch.randint(c, (b,), generator=g),
        text_features=unit(b, D),
        logit_scale=torch.tensor(3.0, dtype=torch.float64),
        reference=lambda: reference,
        params=params,
        pretrained={k: p + normal(*p.shape) for k, p in params.items()},
    )
