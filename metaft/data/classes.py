"""The classes of a data set, as captions and files name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaft.errors import DataError
from metaft.texts import PLAIN, oddity

if TYPE_CHECKING:  # as splits have classes
    from metaft.data.types import Splits


@dataclass(frozen=True)
class Classes:
    """Class names in label order, caption templates with one `{}` each, and each class's folder where it has one.

    Raises:
        DataError: a name that breaks its line or that UTF-8 cannot hold: names are written into files, one a line.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, name in enumerate(self.names):
            if odd := oddity(name):
                of = f", of the folder {self.folders[number]!a}," if self.folders else ""
                raise DataError(f"data: the class name {name!a}{of} has {odd}; allowed: {PLAIN}")


def is_missing(label: str) -> bool:
    """Whether a text is what programs write where there is no label: -1, or nan."""
    return re.fullmatch(r"(?i)nan|-\d+(?:\.0*)?", label) is not None


def trained(splits: Splits) -> Splits:
    """The splits, if there is an image to train on of every class that they judge by.

    Raises:
        DataError: of one of these classes there is none.
    """
    known = {label for split in (splits.id_train, *splits.more.values()) for label in split.labels.tolist()}
    for split in splits.parts.values():
        lost = sorted(set(split.labels.tolist()) - known)
        if lost:
            name = splits.classes.names[lost[0]]
            found = f"no image of class {name!r}, of which {split.name} has some"
            raise DataError(f"{splits.id_train.name}: {found}; allowed: at least one of each class that is judged by")
    return splits
