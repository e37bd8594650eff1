"""A point of the unit cube as an estimator sees it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metaft.space import Space


class Point:
    """A point of the unit cube: `h`, what is differentiated, in natural units; `rest`, what is not."""

    def __init__(self, space: Space, u: Tensor, fixed: Mapping[str, Any]) -> None:
        self.u = u.detach().double()
        self._leaf = self.u.clone().requires_grad_()
        natural = space.from_unit(self._leaf)
        self._graph = {name: value for name, value in natural.items() if isinstance(value, Tensor)}
        self.h = {name: value.detach() for name, value in self._graph.items()}
        self.rest = {**fixed, **{name: value for name, value in natural.items() if name not in self.h}}
        self._names = space.names

    @cached_property
    def _rates(self) -> Tensor:
        """d h_k / d u_k [K]; 0 where there is none. Every dimension depends on its own coordinate alone."""
        (rates,) = torch.autograd.grad(
            list(self._graph.values()), self._leaf, [torch.ones_like(x) for x in self.h.values()]
        )
        return rates

    def pull(self, by_name: Mapping[str, Tensor]) -> Tensor:
        """d value / d u [K] from d value / d h."""
        zero = self._rates.new_zeros(())
        return self._rates * torch.stack([by_name[n].to(zero) if n in by_name else zero for n in self._names])

    def push(self, direction: Tensor) -> dict[str, Tensor]:
        """A direction in h, by name, from one in u [K]."""
        moved = dict(zip(self._names, self._rates * direction, strict=True))
        return {name: moved[name] for name in self.h}
