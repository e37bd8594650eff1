"""The same picture in two splits, of which one judges what the other trains: found by content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import combinations

import torch

from metaft.data.decoded import Decoded, ImageFiles, Mapped
from metaft.data.objects import Kept
from metaft.data.stored import Stored, content_of, size_of
from metaft.data.types import Corrupted, ImageSource, PixelArray, Split, Splits, origin
from metaft.errors import DataError

CHUNK = 512  # images read at a time
Contents = list[bytes | None]  # the hash of each image; None where it is not compared


def refuse_shared(splits: Splits) -> None:
    """Refuse splits that share a picture, unless both are of ID or both are tests.

    Raises:
        DataError: which two, and the first picture that they share.
    """
    reason = shared_images({name: split for name, split in splits.parts.items() if name != "labelled_half"})
    if reason is not None:
        raise DataError(reason)


def shared_images(splits: Mapping[str, Split]) -> str | None:
    """Which two splits share how many pictures, and one of them, for a message; None where none do.

    `id_train` and `id_val` may share pictures, and so may tests. Pictures are compared by the SHA-256 of their pixels
    at the model's size, those of one colour alone left out; or of their files' bytes, where a split's files are too
    large to be kept. Splits whose pictures are neither kept nor files are not compared. Corrupted pictures are compared
    as what they were before.
    """
    numbers = {name: _numbers(contents) for name, contents in _contents(splits).items()}
    for first, second in combinations(splits, 2):
        shared = [content for content in numbers[first] if content in numbers[second]]
        if shared and not _harmless(first, second):
            one, other = (_name(splits[name], numbers[name][shared[0]]) for name in (first, second))
            count = f"{len(shared)} picture{'s' if len(shared) > 1 else ''}"
            found = f"{count} of {second} too, the first: {one} is {other}"
            return f"{first}: {found}; allowed: each picture in one of them"
    return None


def copies(split: Split, others: Split) -> list[int]:
    """The numbers of the images of `others` that `split` has too; see `shared_images` for how they are compared."""
    contents = _contents({"split": split, "others": others})
    known = {*contents["split"]} - {None}
    return [number for number, content in enumerate(contents["others"]) if content in known]


def with_copies(split: Split) -> Split:
    """The split with copies among its images marked as such (`Split.pictures`); compared as in `shared_images`."""
    origins, contents = _origins(split), Contents()
    if any(_is_file(source) for source, _ in origins):
        files = _files(origins)
        sizes = [None if file is None else size_of(file) for file in files]
        alike = Counter(sizes)
        contents = [_hash(file) if alike[size] > 1 else None for file, size in zip(files, sizes, strict=True)]
    elif _kept(origins):
        contents = _of_pixels(split)
    first = dict[bytes, int]()
    numbers = [number if c is None else first.setdefault(c, number) for number, c in enumerate(contents)]
    different = len({*numbers}) == len(numbers)
    return split if different else replace(split, pictures=torch.tensor(numbers))


def _harmless(first: str, second: str) -> bool:
    """Whether two splits may share pictures: duplicates in ID change little, and no test sees another."""
    tests = [name == "id_test" or name.startswith("ood_test/") for name in (first, second)]
    return all(tests) or {first, second} == {"id_train", "id_val"}


def _contents(splits: Mapping[str, Split]) -> dict[str, Contents]:
    origins = {name: _origins(split) for name, split in splits.items()}
    if any(_is_file(source) for found in origins.values() for source, _ in found):
        return _of_files({name: _files(found) for name, found in origins.items()})
    return {name: _of_pixels(split) if _kept(origins[name]) else [] for name, split in splits.items()}


def _numbers(contents: Contents) -> dict[bytes, int]:
    """The number of the first image with each content."""
    numbers: dict[bytes, int] = {}
    for number, content in enumerate(contents):
        if content is not None:
            numbers.setdefault(content, number)
    return numbers


def _is_file(source: ImageSource) -> bool:
    """Whether pictures are not in memory, so that files are compared."""
    return isinstance(source, ImageFiles | Mapped)


def _clean(source: ImageSource) -> ImageSource:
    return source.clean if isinstance(source, Corrupted) else source


def _origins(split: Split) -> list[tuple[ImageSource, int]]:
    return [origin(_clean(split.source), i) for i in range(len(split))]


def _kept(origins: list[tuple[ImageSource, int]]) -> bool:
    return all(isinstance(source, PixelArray | Kept) for source, _ in origins)


def _name(split: Split, number: int) -> str:
    """An image's file, or its number in the data set that it is taken from."""
    source, number = _origins(split)[number]
    return str(source.files[number]) if isinstance(source, Decoded | ImageFiles | Mapped) else f"item {number}"


def _files(origins: list[tuple[ImageSource, int]]) -> list[Stored | None]:
    """The file of each image; None where it has none."""
    return [s.files[i] if isinstance(s, Decoded | ImageFiles | Mapped) else None for s, i in origins]


def _of_pixels(split: Split) -> Contents:
    """The hash of each image's pixels."""
    contents: Contents = []
    for chunk in torch.arange(len(split)).split(CHUNK):
        pixels = _clean(split.source).pixels(chunk.tolist()).contiguous()
        flat = pixels.flatten(2)
        plain = (flat.amax(2) == flat.amin(2)).all(1)  # blank pages are alike without being the same
        images = zip(pixels.numpy(), plain.tolist(), strict=True)
        contents += [None if blank else sha256(image).digest() for image, blank in images]
    return contents


def _of_files(stored: Mapping[str, list[Stored | None]]) -> dict[str, Contents]:
    """The hash of each file with the size of another split's: reading the others could find nothing."""
    sizes = {name: [None if f is None else size_of(f) for f in files] for name, files in stored.items()}
    users: dict[int | None, set[str]] = defaultdict(set)
    for name, found in sizes.items():
        for size in found:
            users[size].add(name)
    return {
        name: [_hash(file) if len(users[size]) > 1 else None for file, size in zip(files, sizes[name], strict=True)]
        for name, files in stored.items()
    }


def _hash(file: Stored | None) -> bytes | None:
    return None if file is None else sha256(content_of(file)).digest()
