"""Linear solvers for `implicit`: A v = b with A known by its products, v and b lists of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from metaft.objective.vectors import Tensors, dot

Product = Callable[[Tensors], Tensors]


def conjugate_gradients(product: Product, b: Tensors, iterations: int, scale: float) -> Tensors:
    """CG for a positive definite A; exact after as many iterations as A has distinct eigenvalues.

    It stops early where the residual vanishes or A turns out not to be positive definite along the search direction.
    `scale` is not used. Source: Hestenes and Stiefel, 1952.
    """
    v: Tensors = [torch.zeros_like(x) for x in b]
    r = d = b
    size = float(dot(r, r))
    for _ in range(iterations):
        a_d = product(d)
        curvature = float(dot(d, a_d))
        if curvature <= 0 or size == 0:
            break
        alpha = size / curvature
        v, r = torch._foreach_add(v, d, alpha=alpha), torch._foreach_add(r, a_d, alpha=-alpha)
        previous, size = size, float(dot(r, r))
        d = torch._foreach_add(r, d, alpha=size / previous)
    return v


def neumann(product: Product, b: Tensors, iterations: int, scale: float) -> Tensors:
    """v = scale * sum_{j < iterations} (I - scale A)^j b; converges where every eigenvalue of scale A is in (0, 2).

    With `scale` the learning rate of gradient descent it equals truncation after as many steps, at the minimum.
    Source: Lorraine et al., AISTATS 2020, section 4.
    """
    term = b
    total: Tensors = [torch.zeros_like(x) for x in b]
    for _ in range(iterations):
        total = torch._foreach_add(total, term, alpha=scale)
        term = torch._foreach_add(term, product(term), alpha=-scale)
    return total


SOLVERS = {"cg": conjugate_gradients, "neumann": neumann}
