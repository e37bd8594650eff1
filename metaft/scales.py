"""Scales of real hyperparameters: maps between [0, 1] and a range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported where a tensor is made: settings describe spaces without it
    from torch import Tensor

_SHARPNESS, _KNEE = 12.0, 0.75  # of the softplus scale: exponential below the knee, linear above
_EXP = 80.0  # whose exponential is within what a float32 can hold
_LINEAR = 1e-3  # of the asinh scale: the share of the range up to which it is linear


@dataclass(frozen=True)
class Scale:
    """A registered scale of real hyperparameters, between u in [0, 1] and [low, high].

    Args:
        forward: (u, low, high) to natural units; differentiable.
        inverse: (value, low, high) to u.
        positive: whether it needs a low end above 0.
    """

    forward: Callable[[Tensor, float, float], Tensor]
    inverse: Callable[[float, float, float], float]
    positive: bool = False


def _softplus(x: float) -> float:
    return math.log1p(math.exp(x))


_G0, _G1 = _softplus(-_SHARPNESS * _KNEE), _softplus(_SHARPNESS * (1 - _KNEE))
_WIDTH = math.asinh(1 / _LINEAR)


def _softplus_share(u: Tensor) -> Tensor:
    from torch.nn.functional import softplus

    return (softplus(_SHARPNESS * (u - _KNEE)) - _G0) / (_G1 - _G0)


def _shared(share: Callable[[Tensor], Tensor], u_of: Callable[[float], float]) -> Scale:
    """The scale from the share of the range below u, and from its inverse."""
    return Scale(
        lambda u, low, high: low + (high - low) * share(u),
        lambda value, low, high: u_of((value - low) / (high - low)),
    )


def _width(low: float, high: float) -> float:
    """log(high / low), also where the ratio is beyond the largest number, or rounds to 1."""
    ratio = high / low
    if ratio == math.inf:
        return math.log(high) - math.log(low)
    return math.log(ratio) if ratio > 1 else math.log1p((high - low) / low)


def _power(u: Tensor, low: float, high: float) -> Tensor:
    width = _width(low, high)
    return low * (u * width).exp() if width < _EXP else (u * width + math.log(low)).exp()


SCALES: dict[str, Scale] = {
    "log": Scale(_power, lambda value, low, high: _width(low, value) / _width(low, high), positive=True),
    "linear": _shared(lambda u: u, lambda share: share),
    "softplus": _shared(
        _softplus_share, lambda share: math.log(math.expm1(_G0 + share * (_G1 - _G0))) / _SHARPNESS + _KNEE
    ),
    "asinh": _shared(lambda u: _LINEAR * (u * _WIDTH).sinh(), lambda share: math.asinh(share / _LINEAR) / _WIDTH),
}
