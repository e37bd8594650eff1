"""Whether torch may add numbers up in another order each time, as on GPUs some of its fastest kernels do."""

from __future__ import annotations

import os
from typing import Literal

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by cuBLAS as it begins; without it some of its kernels are not deterministic


def settle(how: Literal[True, False, "warn"]) -> None:
    """Keep torch to deterministic kernels, for the whole process.

    Args:
        how: True: an operation without such a kernel is an error; warn: it is told of, and run; False: nothing changes.
    """
    if how is False:
        return
    os.environ.setdefault(CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=how == "warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # takes time, finds bugs
    torch.backends.cudnn.benchmark = False
