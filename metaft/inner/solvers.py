"""Linear solvers for `implicit`: A v = b with A known by its products, v and b lists of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from metaft.config.schema import HypergradConfig
from metaft.tensors import Tensors, dot

Product = Callable[[Tensors], Tensors]


class LinearSolver(Protocol):
    """Solves A v = b with at most `iterations` products."""

    @property
    def iterations(self) -> int:
        """How many products with A it takes at most."""
        ...

    def __call__(self, product: Product, b: Tensors, /) -> Tensors:
        """v, from A's product with any vector."""
        ...


@dataclass(frozen=True)
class ConjugateGradients:
    """CG for a positive definite A; exact after as many iterations as A has distinct eigenvalues.

    It stops early where the residual vanishes or A turns out not to be positive definite along the search direction.

    Source: Hestenes and Stiefel, 1952.
    """

    iterations: int = 10

    @classmethod
    def of(cls, settings: HypergradConfig) -> ConjugateGradients:
        """With the iterations of the settings."""
        return cls(settings.iterations)

    def __call__(self, product: Product, b: Tensors) -> Tensors:
        """v, from A's product with any vector."""
        v: Tensors = [torch.zeros_like(x) for x in b]
        r = d = b
        size = float(dot(r, r))
        for _ in range(self.iterations):
            a_d = product(d)
            curvature = float(dot(d, a_d))
            if curvature <= 0 or size == 0:
                break
            alpha = size / curvature
            v, r = torch._foreach_add(v, d, alpha=alpha), torch._foreach_add(r, a_d, alpha=-alpha)
            previous, size = size, float(dot(r, r))
            d = torch._foreach_add(r, d, alpha=size / previous)
        return v


@dataclass(frozen=True)
class Neumann:
    """v = scale * sum_{j < iterations} (I - scale A)^j b; converges where every eigenvalue of scale A is in (0, 2).

    With `scale` the learning rate of gradient descent it equals truncation after as many steps, at the minimum.

    Source: Lorraine et al., AISTATS 2020, section 4.
    """

    iterations: int = 10
    scale: float = 1.0

    @classmethod
    def of(cls, settings: HypergradConfig) -> Neumann:
        """With the iterations and the scale of the settings."""
        return cls(settings.iterations, settings.scale)

    def __call__(self, product: Product, b: Tensors) -> Tensors:
        """v, from A's product with any vector."""
        term = b
        total: Tensors = [torch.zeros_like(x) for x in b]
        for _ in range(self.iterations):
            total = torch._foreach_add(total, term, alpha=self.scale)
            term = torch._foreach_add(term, product(term), alpha=-self.scale)
        return total
