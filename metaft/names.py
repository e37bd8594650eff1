"""Names of hyperparameters: `NAME`, `NAME@GROUP` for a parameter group's own, `METHOD.KNOB` for a method's own.

`ce:SOURCE` is the weight of cross-entropy on a further source of training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Name:
    """A hyperparameter's name, taken apart.

    `base` is a term, `lr`, `wd` or a method's knob; `group` the parameter group it is for, `method` the method whose
    knob it is, each None where there is none.
    """

    base: str
    group: str | None = None
    method: str | None = None

    @staticmethod
    @cache
    def parse(text: str) -> Name:
        """The parts of a written name; names of groups may hold dots."""
        name, at, group = text.partition("@")
        method, dot, knob = name.partition(".")
        return Name(knob if dot else name, group if at else None, method if dot else None)

    def __str__(self) -> str:
        """The name as it is written in spaces and objectives."""
        name = self.base if self.method is None else f"{self.method}.{self.base}"
        return name if self.group is None else f"{name}@{self.group}"

    @property
    def is_knob(self) -> bool:
        """Whether it is a method's knob."""
        return self.method is not None

    @property
    def of_optimizer(self) -> bool:
        """Whether it is the learning rate or weight decay, of all parameters or of a group."""
        return not self.is_knob and self.base in ("lr", "wd")

    @property
    def ungrouped(self) -> str:
        """The written name without its group."""
        return str(Name(self.base, None, self.method))


OOD_VAL = "ood_val"  # the source that judges too
ALPHA = "alpha"  # the name of the share of its way that a fine-tune's result is moved
HEAD = "head"  # the name of the choice of a last layer to begin with
_OF_SOURCE = "ce:"


def source_name(source: str) -> str:
    """The name of the weight of cross-entropy on a further source of images."""
    return _OF_SOURCE + source


def source_of(name: str) -> str | None:
    """The source whose weight has this name; None where it is no such weight."""
    return name.removeprefix(_OF_SOURCE) if name.startswith(_OF_SOURCE) else None


def value_for(values: Mapping[str, Any], base: str, group: str) -> Any:
    """The value for a parameter group: that of `BASE@GROUP` where there is one, else that of `BASE`."""
    key = str(Name(base, group))
    return values[key] if key in values else values[base]
