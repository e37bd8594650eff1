"""What a process holds: resident memory, open files, and objects with all that hangs on them. Linux."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Collect what is garbage, and give free memory back to the system, which the C library keeps otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident() -> int:
    """Resident bytes, after all that is free has been given back."""
    give_back()
    return PAGE * int(Path("/proc/self/statm").read_text().split()[1])


def handles() -> int:
    """The number of open files, pipes and sockets."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (an entry that is a closed pipe is one, too)


def weight(value: Any, seen: set[int]) -> int:
    """The bytes of an object and of what hangs on it, but for what was `seen` before."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    parts: list[Any] = []
    if is_dataclass(value):
        parts = [getattr(value, "__dict__", None), *(getattr(value, field.name) for field in fields(value))]
    elif isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, tuple | list):
        parts = list(value)
    return sys.getsizeof(value) + sum(weight(part, seen) for part in parts)
