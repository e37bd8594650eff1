"""Projection of a parameter tensor onto a ball around its anchor, and the derivative with respect to the radius.

    c = p - p_0,  n_r = |c_r| for each row r,  Pi(p) = p_0 + min(1, gamma / n_r) c_r

`mars`: a row is all that belongs to one entry of the first dimension, measured in the L1 norm, so that the ball is
that of the maximum absolute row sum; a tensor of one dimension is a single row. `l2`: the whole tensor is one row,
measured in the L2 norm; the projection then is WiSE-FT with a coefficient for each tensor.

Source: Tian et al., Trainable projected gradient method (TPGM), CVPR 2023, section 3; Gouk et al., ICLR 2021 (MARS).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

_TINY = 1e-30  # keeps the ratio finite for a row that has not moved


def rows(tensor: Tensor, norm: str) -> Tensor:
    """The tensor as a matrix of its rows, [rows, entries]."""
    return tensor.reshape(1, -1) if norm == "l2" or tensor.ndim < 2 else tensor.flatten(1)


def row_sums(tensor: Tensor, norm: str) -> Tensor:
    """The sum of each row, [rows]."""
    return rows(tensor, norm).sum(dim=1)


def row_norms_(drift: Tensor, norm: str) -> Tensor:
    """The norm of each row, [rows]; `drift` is overwritten."""
    return row_sums(drift.abs_(), norm) if norm == "mars" else row_sums(drift.square_(), norm).sqrt_()


def row_norms(drift: Tensor, norm: str) -> Tensor:
    """The norm of each row, [rows]."""
    norms: Tensor = torch.linalg.vector_norm(rows(drift, norm), 1 if norm == "mars" else 2, dim=1)
    return norms


def row_pulls(grad: Tensor, drift: Tensor, norm: str) -> Tensor:
    """<g_r, c_r> of each row, [rows]."""
    return row_sums(grad * drift, norm)


def padded(vectors: Sequence[Tensor]) -> Tensor:
    """n vectors [rows] as one matrix [n, most rows], filled up with zeros: one kernel then serves all small sums."""
    return pad_sequence(list(vectors), batch_first=True)


def shares(radius: Tensor, norms: Tensor) -> Tensor:
    """min(1, gamma / n) of every row, [n, rows], from radii [n] and norms [n, rows]."""
    return (radius[:, None] / norms.clamp(min=_TINY)).clamp(max=1.0)


def spread(share: Tensor, like: Tensor, norm: str) -> Tensor:
    """The shares of a tensor's rows, padded or not, in a shape that multiplies it row by row."""
    if like.ndim == 0:
        return share[0]
    count = 1 if norm == "l2" or like.ndim == 1 else len(like)
    return share[:count].view(count, *[1] * (like.ndim - 1))


def scaled(value: Tensor, anchor: Tensor, share: Tensor, norm: str) -> Tensor:
    """p_0 + share (p - p_0) row by row; exactly p at share 1 and p_0 at share 0."""
    return torch.lerp(anchor, value, spread(share, value, norm))


def project(value: Tensor, anchor: Tensor, radius: Tensor, norm: str) -> Tensor:
    """The nearest point of the ball of this radius [] around the anchor, row by row."""
    return scaled(value, anchor, shares(radius[None], row_norms(value - anchor, norm)[None])[0], norm)


def radius_gradient(pulls: Tensor, lengths: Tensor, radius: Tensor, proposed: Tensor) -> Tensor:
    """d loss / d gamma of each tensor, [n]: the sum of <g_r, c_r> / |c_r| over the rows on its ball's surface.

    Args:
        pulls: <g_r, c_r> [n, rows], with g = d loss / d p at the projected point and c the drift, or any positive
            multiple of each of its rows, such as the projected point less its anchor.
        lengths: the norms of c's rows [n, rows], or [n, 1] where all that count are equally long.
        radius: [n].
        proposed: n_r [n, rows]; rows with n_r < gamma are not projected, and their derivative is 0; at n_r = gamma it
            is that from inside.
    """
    on_surface = proposed >= radius[:, None]
    return torch.where(on_surface, pulls / lengths.clamp(min=_TINY), torch.zeros_like(pulls)).sum(dim=1)
