"""Attention that can be differentiated twice."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch.nn.attention import SDPBackend, sdpa_kernel


def second_order_attention() -> AbstractContextManager[None]:
    """A context with the attention kernel that has second derivatives; the fused ones have none."""
    return sdpa_kernel(SDPBackend.MATH)
