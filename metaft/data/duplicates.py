"""The same picture in two splits, of which one judges what the other trains, or in two classes: found by content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import torch

from metaft.data.decoded import Decoded, ImageFiles, held
from metaft.data.objects import Kept
from metaft.data.store import Mapped
from metaft.data.stored import Inside, StandIn, content_of, size_of
from metaft.data.types import Corrupted, ImageSource, PixelArray, Split, Splits, origin
from metaft.errors import DataError
from metaft.progress import warn

CHUNK = 512  # images read at a time
Contents = list[bytes | None]  # the hash of each image; None where it is not compared


def compared(splits: Splits, *, published: bool = False) -> Splits:
    """The splits, once their pictures are compared: copies within `ood_val` are marked as such (`Split.pictures`).

    A warning tells of pictures that a split has in two classes: one of them is a false label.

    Args:
        published: of a set that has a name, whose splits are taken as they are; its `ood_val` alone is looked at.

    Raises:
        DataError: two splits share a picture, unless both are of ID or both are tests; which, and the first picture.
    """
    names = ("ood_val",) if published else (name for name in splits.parts if name != "labelled_half")
    parts = {name: splits.parts[name] for name in names}
    contents = contents_of(parts)
    if reason := shared_images(parts, contents):
        raise DataError(reason)
    for name, split in parts.items():
        if doubt := in_two_classes(split, contents[name], splits.classes.folders):
            warn(f"{name}: {doubt}")
    return replace(splits, ood_val=marked(splits.ood_val, contents["ood_val"]))


def shared_images(splits: Mapping[str, Split], contents: Mapping[str, Contents]) -> str | None:
    """Which two splits share how many pictures, and one of them, for a message; None where none do.

    `id_train` and `id_val` may share pictures, and so may tests.
    """
    numbers = {name: _numbers(found) for name, found in contents.items()}
    for first, second in combinations(splits, 2):
        shared = [content for content in numbers[first] if content in numbers[second]]
        if shared and not _harmless(first, second):
            one, other = (_name(splits[name], numbers[name][shared[0]]) for name in (first, second))
            found = f"{_pictures(len(shared))} of {second} too, the first: {one} is {other}"
            return f"{first}: {found}; allowed: each picture in one of them"
    return None


def in_two_classes(split: Split, contents: Contents, classes: Sequence[str]) -> str | None:
    """How many pictures of a split are copies of one in another class, and one of them; None where none is."""
    labels = split.labels.tolist()
    doubtful = [(one, other) for other, one in enumerate(_firsts(contents)) if labels[one] != labels[other]]
    if not doubtful:
        return None
    one, other = (f"{_name(split, number)} of {classes[labels[number]]!r}" for number in doubtful[0])
    return f"{_pictures(len(doubtful))} in two classes, the first: {one} is {other}"


def marked(split: Split, contents: Contents) -> Split:
    """The split with copies among its images marked as such (`Split.pictures`)."""
    numbers = _firsts(contents)
    different = len({*numbers}) == len(numbers)
    return split if different else replace(split, pictures=torch.tensor(numbers))


def copies(split: Split, others: Split) -> list[int]:
    """The numbers of the images of `others` that `split` has too; see `contents_of` for how they are compared."""
    contents = contents_of({"split": split, "others": others})
    known = {*contents["split"]} - {None}
    return [number for number, content in enumerate(contents["others"]) if content in known]


def _harmless(first: str, second: str) -> bool:
    """Whether two splits may share pictures: duplicates in ID change little, and no test sees another."""
    tests = [name == "id_test" or name.startswith("ood_test/") for name in (first, second)]
    return all(tests) or {first, second} == {"id_train", "id_val"}


def contents_of(splits: Mapping[str, Split]) -> dict[str, Contents]:
    """By split, what tells each picture from others: the SHA-256 of its pixels at the model's size.

    Neither pictures of one colour alone are compared nor stand-ins. Where a split's files are too large to be kept,
    these are compared by their bytes: those of two splits, and those of `ood_val` with each other. Splits whose
    pictures are neither kept nor files are not compared. Corrupted pictures are compared as what they were before.
    """
    kinds = {name: _kinds(split) for name, split in splits.items()}
    if _by_files(splits, {kind for found in kinds.values() for kind in found}):
        return _of_files({name: _files(split) for name, split in splits.items()})
    return {name: _of_pixels(split) if _kept(kinds[name]) else [None] * len(split) for name, split in splits.items()}


def _numbers(contents: Contents) -> dict[bytes, int]:
    """The number of the first image with each content."""
    numbers: dict[bytes, int] = {}
    for number, content in enumerate(contents):
        if content is not None:
            numbers.setdefault(content, number)
    return numbers


def _firsts(contents: Contents) -> list[int]:
    """For each image, the number of the first with its content."""
    first = _numbers(contents)
    return [number if content is None else first[content] for number, content in enumerate(contents)]


def _by_files(splits: Mapping[str, Split], kinds: set[type]) -> bool:
    """Whether there is more than memory holds, so that files are compared."""
    sizes = {split.view.size for split in splits.values()}
    return ImageFiles in kinds or (Mapped in kinds and not held(sum(map(len, splits.values())), max(sizes)))


def _clean(source: ImageSource) -> ImageSource:
    return source.clean if isinstance(source, Corrupted) else source


def _kinds(split: Split) -> set[type]:
    """The kinds of sources that a split's images are taken from."""
    clean = _clean(split.source)
    return {type(origin(clean, i)[0]) for i in range(len(split))}


def _kept(kinds: set[type]) -> bool:
    return all(issubclass(kind, PixelArray | Kept | Mapped) for kind in kinds)


def _name(split: Split, number: int) -> str:
    """An image's file, or its number in the data set that it is taken from."""
    file = _file(split, number)
    return f"item {origin(_clean(split.source), number)[1]}" if file is None else str(file)


def _file(split: Split, number: int) -> str | Inside | None:
    """What is kept of an image's file; None where it has none."""
    source, i = origin(_clean(split.source), number)
    return source.files.kept[i] if isinstance(source, Decoded | ImageFiles | Mapped) else None


def _files(split: Split) -> list[str | Inside | None]:
    """The file of each image; None where it has none, or another's stands in for it."""
    files = (_file(split, number) for number in range(len(split)))
    return [None if isinstance(file, StandIn) else file for file in files]


def stood_in_for(split: Split, number: int) -> bool:
    """Whether another picture stands in for an image."""
    return isinstance(_file(split, number), StandIn)


def _of_pixels(split: Split) -> Contents:
    """The hash of each image's pixels."""
    contents: Contents = []
    for chunk in torch.arange(len(split)).split(CHUNK):
        pixels = _clean(split.source).pixels(chunk.tolist()).contiguous()
        flat = pixels.flatten(2)
        plain = (flat.amax(2) == flat.amin(2)).all(1)  # blank pages are alike without being the same
        images = zip(chunk.tolist(), pixels.numpy(), plain.tolist(), strict=True)
        contents += [None if blank or stood_in_for(split, n) else sha256(image).digest() for n, image, blank in images]
    return contents


def _of_files(stored: Mapping[str, list[str | Inside | None]]) -> dict[str, Contents]:
    """The hash of each file with the size of one that it is compared with: reading others could find nothing."""
    sizes = {name: [None if f is None else size_of(f) for f in files] for name, files in stored.items()}
    users: dict[int | None, set[str]] = defaultdict(set)
    for name, found in sizes.items():
        for size in found:
            users[size].add(name)
    within = Counter(sizes.get("ood_val", ()))
    return {
        name: [
            _hash(file) if len(users[size]) > 1 or (name == "ood_val" and within[size] > 1) else None
            for file, size in zip(files, sizes[name], strict=True)
        ]
        for name, files in stored.items()
    }


def _pictures(count: int) -> str:
    return f"{count} picture{'s' if count > 1 else ''}"


def _hash(file: str | Inside | None) -> bytes | None:
    if file is None:
        return None
    return sha256(content_of(Path(file) if isinstance(file, str) else file)).digest()
