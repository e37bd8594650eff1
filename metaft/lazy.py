"""Functions that are named before they are imported, so that settings can be checked without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Lazy:
    """A function or class by its place, `package.module:name`; the module is imported when it is first called."""

    place: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what stands there."""
        return self.target(*args, **kwargs)

    @property
    def target(self) -> Any:
        """What stands there."""
        module, _, name = self.place.partition(":")
        return reduce(getattr, name.split("."), import_module(module))
