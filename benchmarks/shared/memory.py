"""Peak memory of a call: the allocator's own count on a GPU, the profiler's record of every allocation on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

T = TypeVar("T")


def peak_bytes(call: Callable[[], T], device: str) -> tuple[T, int]:
    """A call's result, and the most bytes of tensors alive at once during it, beside those alive before it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return result, torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = call()
    changes = [(e.start_ns(), e.nbytes()) for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for _, change in sorted(changes, key=lambda c: c[0]):
        alive += change
        peak = max(peak, alive)
    return result, peak
