"""The same picture in two parts of a data set, found by its pixels: it would judge what was trained on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch

from metaft.data.types import MEMORY, Split
from metaft.errors import DataError

CHUNK = 256  # images that are read at once


def refuse_shared(parts: Mapping[str, Split]) -> None:
    """Refuse a data set with one picture in two of its parts, by sha256 of the pixels at the model's size.

    Pictures of one colour are no evidence. Two parts of which one is too large for memory are not compared. The same
    picture twice in one part, or in both ID parts, does not judge what was trained on it and is let pass.

    Raises:
        DataError: such a picture, its number in both parts and how many more there are.
    """
    seen: dict[bytes, tuple[str, int]] = {}
    shared: list[tuple[tuple[str, int], tuple[str, int]]] = []
    for name, split in parts.items():
        for number, digest in _digests(split):
            first = seen.setdefault(digest, (name, number))
            if first[0] != name and not {first[0], name} <= {"id_train", "id_val"}:
                shared.append((first, (name, number)))
    if shared:
        (first, second), more = shared[0], len(shared) - 1
        rest = f", and {more} more" if more else ""
        found = f"image {second[1]} is image {first[1]} of {first[0]} too{rest}"
        raise DataError(f"{second[0]}: {found}; allowed: each image in one of the parts that train, judge or test")


def _digests(split: Split) -> Iterator[tuple[int, bytes]]:
    """The number of each image that is not of one colour, and the hash of its pixels."""
    if len(split) * 3 * split.view.size**2 > MEMORY:
        return
    for rows in torch.arange(len(split)).split(CHUNK):
        pixels = split.source.pixels(rows.tolist())
        plain = (pixels.flatten(2) == pixels.flatten(2)[..., :1]).all(2).all(1)
        for number, image, blank in zip(rows.tolist(), pixels, plain.tolist(), strict=True):
            if not blank:
                yield number, hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
