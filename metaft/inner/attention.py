"""Which attention kernels torch may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

ALL = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH]


@contextmanager
def second_order_attention() -> Iterator[None]:
    """A context with the attention kernel that has second derivatives; the fused ones have none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def any_attention() -> AbstractContextManager[None]:
    """A context with the fastest kernel, also within one of `second_order_attention`.

    Kernels round differently, so that what is kept may not hang on the context in which it is first asked for.
    """
    return sdpa_kernel(ALL)
