"""Functions that are named before they are imported, so that settings can be checked without torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Lazy:
    """A function or class by its place, `package.module:name`; the module is imported when it is first called."""

    place: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Import the target and call it."""
        return self.target(*args, **kwargs)

    @property
    def target(self) -> Any:
        """The function or class itself, imported now."""
        module, _, name = self.place.partition(":")
        return reduce(getattr, name.split("."), import_module(module))


def make_callable(package: str, place: str) -> None:
    """Let a package be called like the public function of the same name.

    `metaft.search` is a package and, in the public face, a function: Python sets the package as an attribute of
    `metaft` as soon as a part of it is imported, so it has to be both.
    """

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return Lazy(place)(*args, **kwargs)

        @property
        def __wrapped__(self) -> Any:  # so that signatures are the function's
            return Lazy(place).target

    sys.modules[package].__class__ = CallablePackage
