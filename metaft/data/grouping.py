"""The domain and the group of each image of a person's own datasets, which are given beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import torch
from torch import Tensor

from metaft.data.layout import judges
from metaft.data.sources import MORE
from metaft.data.tree import in_order
from metaft.data.types import Domains, Split
from metaft.errors import ConfigError, DataError, Fault, unknown
from metaft.texts import PLAIN, oddity

Given = Mapping[str, Any]  # by split: a name or a whole number for each image
Texts = list[str | None]  # a name for each image of a split, in order; None: it is in none
PARTS = "ood_val/"  # splits that are domains of one


@dataclass(frozen=True)
class Beside:
    """The domains and groups of images by split (see `Split` for what they are)."""

    domains: Mapping[str, Texts]
    groups: Mapping[str, Texts]

    @classmethod
    def of(cls, domains: Given, groups: Given, sizes: Mapping[str, int]) -> Beside:
        """Those that a person gives.

        Where one split that judges has groups, all of them need to: images that belong together would be dealt to
        different folds, or be counted as independent, without a word.

        Args:
            sizes: the number of images of each split.

        Raises:
            ConfigError: a name of no split, a split without groups beside others that have them, a list that has not a
                name or a whole number for each image, `domains` of what is one domain already.
        """
        given = (_Argument("domains", domains, sizes), _Argument("groups", groups, sizes))
        faults = [fault for argument in given for fault in argument.faults()]
        faults += [
            Fault(f"domains[{name!r}]", "given, and the split is one domain by its name", "one of the two")
            for name in domains
            if name.startswith(PARTS)
        ]
        faults += [
            Fault(f"groups[{name!r}]", f"missing, but {', '.join(groups)} given", "a group for each image that judges")
            for name in sizes
            if groups and name not in groups and judges(name)
        ]
        if faults:
            raise ConfigError(faults)
        return cls(*(argument.texts() for argument in given))

    def on(self, split: Split, *names: str) -> Split:
        """A split that has its own domains and groups; it holds the images of the splits of these names, in order."""
        domains, groups = (
            [text for name in names for text in texts[name]] if texts.keys() >= {*names} else None
            for texts in (self.domains, self.groups)
        )
        return replace(
            split,
            domains=split.domains if domains is None else domains_of(domains),
            groups=None if groups is None else domains_of(groups),
        )


@dataclass(frozen=True)
class _Argument:
    """One of the two arguments by its name, `domains` or `groups`, and the number of images of each split."""

    name: str
    given: Given
    sizes: Mapping[str, int]

    def faults(self) -> list[Fault]:
        """Names of no split, and lists that have not a name or a whole number for each image."""
        splits = [name for name in self.sizes if not name.startswith(MORE)]
        odd = [unknown(self.name, name, splits) for name in self.given if name not in splits]
        return odd + [fault for name in self.given if name in splits and (fault := self._fault(name)) is not None]

    def texts(self) -> dict[str, Texts]:
        """The name of each image by split, numbers as texts."""
        return {name: list(map(_text, values)) for name, values in self.given.items()}

    def _fault(self, split: str) -> Fault | None:
        field, values, count = f"{self.name}[{split!r}]", self.given[split], self.sizes[split]
        several = f"a list, tuple, array or tensor of {count}, one for each image in order"
        if not _is_row(values):
            return Fault(field, f"a {type(values).__name__}", several)
        if len(values) != count:
            return Fault(field, f"{len(values)} of them", f"{count}, one for each image in order")
        none = self.name == "domains"  # an image of no domain is told of with the others, one of no group cannot be
        odd = [number for number, v in enumerate(values) if _text(v) is None and not (none and v is None)]
        if not odd:
            return None
        allowed = f"names or whole numbers{', or None: in no domain' if none else ''}"
        return Fault(field, f"item {odd[0]} is {values[odd[0]]!r}", allowed)


def domains_of(names: Sequence[str | None]) -> Domains:
    """The domains, or groups, of images by name [N]: numbers by their size, others by their letters.

    Raises:
        DataError: a name that breaks its line or that UTF-8 cannot hold: it is to be written into files.
    """
    for name in dict.fromkeys(names):
        if name is not None and (odd := oddity(name)):
            raise DataError(f"data: the domain or group {name!a} has {odd}; allowed: {PLAIN}")
    numbers = {name: number for number, name in enumerate(in_order({name for name in names if name is not None}))}
    return Domains(tuple(numbers), torch.tensor([-1 if name is None else numbers[name] for name in names]))


def whole(value: Any) -> int | None:
    """A whole number of Python's, numpy's or a 0-d tensor; None where it is none."""
    if isinstance(value, bool) or (isinstance(value, Tensor) and (value.ndim > 0 or value.dtype == torch.bool)):
        return None
    try:
        return index(value)
    except TypeError:
        return None


def _text(value: Any) -> str | None:
    """A name, or a whole number as text; None where it is neither."""
    if isinstance(value, str):
        return value if value.strip() else None
    number = whole(value)
    return None if number is None else str(number)


def _is_row(values: Any) -> bool:
    """Whether there are values in an order: no text, mapping, set or stream, nor a tensor of no dimension."""
    if isinstance(values, str | bytes | Mapping) or getattr(values, "ndim", 1) == 0:
        return False
    return hasattr(values, "__len__") and hasattr(values, "__getitem__")
