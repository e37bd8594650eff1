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


def whole_float32() -> None:
    """Have torch convolve float32 in float32, for the whole process, as it multiplies; its default on a GPU is tf32."""
    torch.backends.cudnn.allow_tf32 = False


def matmuls(precision: str) -> AbstractContextManager[None]:
    """A context in which products and convolutions of float32, in derivatives too, are tf32's, where it is that."""
    return _tf32() if precision == "tf32" else nullcontext()


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
