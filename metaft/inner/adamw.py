"""AdamW's update as one differentiable function over many tensors, its derivatives by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metaft.tensors import Tensors, dots, in_pieces, with_zeros

FLOOR = 1e-30  # under the square root of the second moment: its derivative at 0 is large, not infinite


class Constants(NamedTuple):
    """What an update does not differentiate: betas, eps, and the number t of this step, from 1."""

    beta1: float
    beta2: float
    eps: float
    step: int

    @property
    def corrections(self) -> tuple[float, float]:
        """1 - beta1^t and sqrt(1 - beta2^t)."""
        return 1 - self.beta1**self.step, math.sqrt(1 - self.beta2**self.step)


def adamw(
    params: Tensors, grads: Tensors, exp_avg: Tensors, exp_avg_sq: Tensors, lr: Any, wd: Any, constants: Constants
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The next parameters and moments, differentiable once in everything but the constants.

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- (1 - lr wd) p - lr / (1 - b1^t) m / (sqrt(v + 1e-30) / sqrt(1 - b2^t) + eps)

    Its graph keeps the gradients and what the next state holds anyway; a graph of elementary operations would keep
    some ten copies of the parameters. The second derivatives a hypergradient needs are the model's alone.

    Args:
        params, grads, exp_avg, exp_avg_sq: n tensors each, of equal shapes.
        lr, wd: numbers or 0-d tensors.

    Source: Loshchilov and Hutter, ICLR 2019, algorithm 2, with eps where torch.optim.AdamW has it.
    """
    n = len(params)
    lr, wd = (x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64) for x in (lr, wd))
    out = cast("tuple[Tensor, ...]", _AdamW.apply(constants, lr, wd, *params, *grads, *exp_avg, *exp_avg_sq))
    return list(out[:n]), list(out[n : 2 * n]), list(out[2 * n :])


class _AdamW(torch.autograd.Function):
    """One graph node for all tensors: from n tensors each of p, g, m, v to n each of p, m, v."""

    @staticmethod
    def forward(ctx: Any, constants: Constants, lr: Tensor, wd: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        p, g, m, v = _parts(tensors, 4)
        new, m, v = in_pieces(partial(_moved, constants, float(lr), float(wd)), p, g, m, v)
        ctx.constants = constants
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(lr, wd, *p, *g, *m, *v)
        ctx.save_for_forward(lr, wd, *p, *g, *m, *v)
        return (*new, *m, *v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        lr, wd, *saved = ctx.saved_tensors
        p, g, m, v = _parts(saved, 4)
        a_p, a_m, a_v = (with_zeros(part, p) for part in _parts(adjoints, 3))
        rate, decay = float(lr), float(wd)
        *back, by_p, by_m = in_pieces(partial(_moved_back, ctx.constants, rate, decay), p, g, m, v, a_p, a_m, a_v)
        along, moved = (torch.stack(products).double().sum() for products in (by_p, by_m))
        d_lr, d_wd = -(decay * along + moved / ctx.constants.corrections[0]), -rate * along
        return (None, d_lr.to(lr), d_wd.to(wd), *chain.from_iterable(back))

    @staticmethod
    def jvp(ctx: Any, _: None, d_lr: Tensor | None, d_wd: Tensor | None, *tangents: Tensor | None) -> tuple[Any, ...]:
        lr, wd, *saved = ctx.saved_tensors
        p, g, m, v = _parts(saved, 4)
        d_p, d_g, d_m, d_v = (with_zeros(part, p) for part in _parts(tangents, 4))
        b1, b2, _, _ = constants = ctx.constants
        c1, c2 = constants.corrections
        rate, decay = float(lr), float(wd)
        d_rate, d_decay = (0.0 if d is None else float(d) for d in (d_lr, d_wd))
        root, denominator = _roots(v, constants)
        d_m = torch._foreach_lerp(d_m, d_g, 1 - b1)
        d_v = torch._foreach_addcmul(torch._foreach_mul(d_v, b2), g, d_g, 2 * (1 - b2))
        ratio = torch._foreach_div(m, denominator)
        d_root = torch._foreach_div(torch._foreach_div(d_v, root), 2 * c2)
        d_ratio = torch._foreach_div(d_m, denominator)
        torch._foreach_addcdiv_(d_ratio, torch._foreach_mul(ratio, d_root), denominator, -1.0)
        new = torch._foreach_mul(d_p, 1 - rate * decay)
        torch._foreach_add_(new, p, alpha=-(d_rate * decay + rate * d_decay))
        torch._foreach_add_(new, ratio, alpha=-d_rate / c1)
        torch._foreach_add_(new, d_ratio, alpha=-rate / c1)
        return (*new, *d_m, *d_v)


def _moved(
    constants: Constants, rate: float, decay: float, p: Tensors, g: Tensors, m: Tensors, v: Tensors
) -> list[Any]:
    """The next parameters and moments."""
    b1, b2, _, _ = constants
    m = torch._foreach_lerp(m, g, 1 - b1)
    v = torch._foreach_mul(v, b2)
    torch._foreach_addcmul_(v, g, g, 1 - b2)
    _, denominator = _roots(v, constants)
    new = torch._foreach_mul(p, 1 - rate * decay)
    torch._foreach_addcdiv_(new, m, denominator, -rate / constants.corrections[0])
    return [new, m, v]


def _moved_back(constants: Constants, rate: float, decay: float, *tensors: Tensors) -> list[Any]:
    """Adjoints of p, g, m, v from p and g, the next m and v, and the adjoints of the next p, m, v.

    And the products <a_p, p> and <a_p / denominator, m>, which the derivatives by lr and wd are made of.
    """
    p, g, m, v, a_p, a_m, a_v = tensors
    b1, b2, _, _ = constants
    c1, c2 = constants.corrections
    root, denominator = _roots(v, constants)
    pull = torch._foreach_div(a_p, denominator)  # a_p / denominator
    ratio = torch._foreach_div(m, denominator)
    along, moved = dots(a_p, p), dots(pull, m)
    torch._foreach_mul_(ratio, pull)
    a_v = torch._foreach_addcdiv(a_v, ratio, root, rate / (2 * c1 * c2))
    a_m = torch._foreach_add(a_m, pull, alpha=-rate / c1)
    a_g = torch._foreach_mul(a_m, 1 - b1)
    torch._foreach_addcmul_(a_g, g, a_v, 2 * (1 - b2))
    a_p = torch._foreach_mul(a_p, 1 - rate * decay)
    torch._foreach_mul_(a_m, b1)
    torch._foreach_mul_(a_v, b2)
    return [a_p, a_g, a_m, a_v, along, moved]


def _roots(v: Tensors, constants: Constants) -> tuple[Tensors, Tensors]:
    """sqrt(v + floor), and the denominator of the update."""
    root = torch._foreach_add(v, FLOOR)
    torch._foreach_sqrt_(root)
    denominator = torch._foreach_div(root, constants.corrections[1])
    torch._foreach_add_(denominator, constants.eps)
    return root, denominator


def _parts(tensors: Sequence[Any], count: int) -> list[Any]:
    n = len(tensors) // count
    return [list(tensors[i * n : (i + 1) * n]) for i in range(count)]
