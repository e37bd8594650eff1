"""In which precision a model computes; its weights and what it gives are in that of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
TENSOR_CORES = (8, 0)  # compute capability from which a GPU has tf32 and bfloat16


def served(device: torch.device) -> tuple[str, ...]:
    """The precisions that a device computes in; beside CPUs and GPUs of CUDA only those that all have."""
    if device.type != "cuda":
        return ("float32", "bfloat16")
    newer = torch.cuda.get_device_capability(device) >= TENSOR_CORES
    return ("float32", "tf32", "bfloat16", "float16") if newer else ("float32", "float16")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context in which a model runs in a precision; at float32 nothing changes. Derivatives are taken outside."""
    return torch.autocast(device.type, AUTOCAST[precision]) if precision in AUTOCAST else nullcontext()


def matmuls(precision: str) -> AbstractContextManager[None]:
    """A context in which products of float32 matrices, in derivatives too, are rounded as tf32 is, where it is that."""
    return _tf32() if precision == "tf32" else nullcontext()


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
