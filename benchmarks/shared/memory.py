"""Peak memory of a call: the allocator's own count on a GPU, the profiler's record of every allocation on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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


def peak_resident(call: Callable[[], object], device: str) -> tuple[int, int]:
    """The bytes that a process holds before a call, and the most during it: of a GPU, or resident ones (Linux)."""
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
        return before, before + peak_bytes(call, device)[1]
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    call()
    return before, _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
