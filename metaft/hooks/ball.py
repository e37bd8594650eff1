"""Projection of a parameter tensor onto a ball around its anchor, and the derivative by the ball's radius.

    c = p - p_0,  n_r = |c_r| for each row r,  Pi(p) = p_0 + min(1, gamma / n_r) c_r

`mars`: a row is all that belongs to one entry of the first dimension, measured in the L1 norm, so that the ball is
that of the maximum absolute row sum; a tensor of one dimension is a single row. `l2`: the whole tensor is one row,
measured in the L2 norm; the projection then is WiSE-FT with a coefficient for each tensor.

Source: Tian et al., Trainable projected gradient method (TPGM), CVPR 2023, section 3; Gouk et al., ICLR 2021 (MARS).
"""

from __future__ import annotations

import torch
from torch import Tensor

NORMS = ("mars", "l2")
_TINY = 1e-30  # a row that has not moved has a ratio all the same


def rows(tensor: Tensor, norm: str) -> Tensor:
    """The tensor as [rows, entries]."""
    return tensor.reshape(1, -1) if norm == "l2" or tensor.ndim < 2 else tensor.flatten(1)


def row_norms(drift: Tensor, norm: str) -> Tensor:
    """The norm of each row, [rows]."""
    norms: Tensor = torch.linalg.vector_norm(rows(drift, norm), 1 if norm == "mars" else 2, dim=1)
    return norms


def shares(radius: Tensor, norms: Tensor) -> Tensor:
    """min(1, gamma / n) for each row, [rows]."""
    return (radius / norms.clamp(min=_TINY)).clamp(max=1.0)


def spread(share: Tensor, like: Tensor) -> Tensor:
    """A number for each row [rows] in a shape that multiplies the tensor row by row."""
    return share.view(len(share), *[1] * (like.ndim - 1)) if like.ndim > 0 else share.view(())


def scaled(value: Tensor, anchor: Tensor, share: Tensor) -> Tensor:
    """p_0 + share (p - p_0) row by row; exactly p at share 1 and p_0 at share 0."""
    return torch.lerp(anchor, value, spread(share, value))


def project(value: Tensor, anchor: Tensor, radius: Tensor, norm: str) -> Tensor:
    """The nearest point of the ball of this radius [] around the anchor, row by row."""
    return scaled(value, anchor, shares(radius, row_norms(value - anchor, norm)))


def radius_gradient(
    grad: Tensor, drift: Tensor, lengths: Tensor, radius: Tensor, proposed: Tensor, norm: str
) -> Tensor:
    """d loss / d gamma, []: the sum of <g_r, c_r> / |c_r| over the rows on the ball's surface.

    Args:
        grad: d loss / d p at the projected point.
        drift: c, or any positive multiple of each of its rows, such as the projected point less its anchor.
        lengths: the norms of `drift`'s rows [rows], or [] where all that count are equally long.
        radius: [].
        proposed: n [rows]; rows with n < gamma are not projected, and their derivative is 0; at n = gamma it is
            that from inside.
    """
    pulls = (rows(grad, norm) * rows(drift, norm)).sum(dim=1)
    return torch.where(proposed >= radius, pulls / lengths.clamp(min=_TINY), torch.zeros_like(pulls)).sum()
