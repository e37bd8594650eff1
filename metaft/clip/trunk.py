"""Image features that many models share, made once: those with another head alone have the same image tower."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metaft.data.types import ImageSource, Split

ROOM = 2**30  # bytes of the features of a split that are kept at most


class Trunk:
    """What an image tower makes of whole splits.

    Args:
        room: the most bytes that are kept of a split; 0, for towers that train: nothing is.
    """

    def __init__(self, room: int = 0) -> None:
        self._room, self._kept = room, dict[int, tuple[ImageSource, Tensor]]()  # by identity, which a source kept has

    def __deepcopy__(self, memo: dict[int, Any]) -> Trunk:
        """That of a copied tower, which may train."""
        return Trunk()

    def features(self, split: Split) -> Tensor | None:
        """The image features [N, D] of a split in order, on the CPU; None: they are not kept."""
        kept = self._kept.get(id(split.source))
        return None if kept is None else kept[1]

    def keep(self, split: Split, features: Tensor) -> None:
        """Keep the features of a split, if there is room for them."""
        if features.numel() * features.element_size() <= self._room:
            self._kept[id(split.source)] = (split.source, features)
