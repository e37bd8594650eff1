"""Attention that can be differentiated twice."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch.nn.attention import SDPBackend, sdpa_kernel

FUSED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)


def second_order_attention() -> AbstractContextManager[None]:
    """A context with the attention kernel that has second derivatives; the fused ones have none."""
    return sdpa_kernel(SDPBackend.MATH)


def fastest_attention() -> AbstractContextManager[None]:
    """A context with every kernel to choose from, as outside of any `second_order_attention`."""
    return sdpa_kernel([*FUSED, SDPBackend.MATH])
