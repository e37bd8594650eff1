"""Ridge regression, whose hypergradient is known."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metaft.inner.hypergradient import estimate
from metaft.inner.state import InnerState

D, N, RATE = 6, 20, 0.3


class Ridge:
    """Gradient descent on |X w - y|^2 / 2n + lam |w|^2 / 2, and the validation loss |w - target|^2 / 2."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        x = torch.randn(N, D, generator=g, dtype=torch.float64)
        y = torch.randn(N, generator=g, dtype=torch.float64)
        self.a, self.b = x.T @ x / N, x.T @ y / N
        self.target = torch.randn(D, generator=g, dtype=torch.float64)
        self.h = {"lam": torch.tensor(0.5, dtype=torch.float64)}

    def loss(self, params, batch, h) -> Tensor:
        (w,) = params
        return w @ self.a @ w / 2 - self.b @ w + h["lam"] * (w @ w) / 2

    def __call__(self, state, batch, h) -> InnerState:
        (w,) = state.params
        return replace(state, params=(w - RATE * (self.a @ w - self.b + h["lam"] * w),))

    def outer(self, state) -> Tensor:
        return (state.params[0] - self.target).square().sum() / 2

    @property
    def hessian(self) -> Tensor:
        return self.a + self.h["lam"] * torch.eye(D, dtype=torch.float64)

    @property
    def optimum(self) -> Tensor:
        return torch.linalg.solve(self.hessian, self.b)

    @property
    def exact(self) -> float:
        """d/dlam |w* - target|^2 / 2 = -(w* - target)' H^-1 w*."""
        w = self.optimum
        return -float((w - self.target) @ torch.linalg.solve(self.hessian, w))

    def gradient(self, steps: int, estimator: str = "unroll", storage: str = "keep", start=None, **options) -> float:
        state = InnerState((self.optimum if start is None else start,), (), (), 0)
        _, slopes = estimate(self, state, range(steps), self.h, self.outer, storage, estimator, **options)
        return float(slopes["lam"])
