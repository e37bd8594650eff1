"""Whether every class that judges is trained."""

from __future__ import annotations

from metaft.data.types import Splits
from metaft.errors import DataError


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
