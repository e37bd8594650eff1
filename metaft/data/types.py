"""What a data set is to the rest of the program: splits, and the part of them a search may see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.data.ahead import ahead
from metaft.data.classes import Classes as Classes  # data sets are made of them
from metaft.data.rows import WHOLE, Share, read
from metaft.data.sources import PRETRAINING
from metaft.data.view import ImageView as ImageView
from metaft.data.view import Ready as Ready
from metaft.data.view import View as View
from metaft.errors import DataError


class ImageSource(Protocol):
    """Images by number, already at the model's size."""

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """[B, 3, S, S], as the split's view takes them: uint8 for an `ImageView`."""
        ...


@dataclass(frozen=True)
class Batch:
    """Normalised images [B, 3, S, S], labels [B] and the images' numbers in their split [B]."""

    images: Tensor
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Domains:
    """The named domain, or group, of each of N images: `numbers` [N] are places in `names`; -1: in none of them."""

    names: tuple[str, ...]
    numbers: Tensor

    def at(self, rows: Tensor) -> Domains:
        """Those of these images [B] alone."""
        return Domains(self.names, self.numbers[rows])

    @property
    def present(self) -> list[int]:
        """The numbers of those that have images, ascending."""
        numbers: list[int] = self.numbers.unique().tolist()
        return [number for number in numbers if number >= 0]


@dataclass(frozen=True)
class Split:
    """Labelled images under one name.

    A domain is a condition that one wants to know of by name (a style, a region): results are told by it. A group is
    images taken together (of one patient), of many that could be: intervals draw whole ones. A camera is both.

    Args:
        domains: the domain of each image, where domains have names.
        groups: the group of each image; None: images are independent. Every image is in one.
        answers: the class that each class counts as [C], -1: it is no answer here; None: each counts as itself.
        pictures: the number of each image's picture [N], the same for copies; None: no copies are known.
        readers: how many processes may decode ahead of who goes over the images; 0 where they are decoded already.
    """

    name: str
    source: ImageSource
    labels: Tensor
    view: View
    domains: Domains | None = None
    groups: Domains | None = None
    answers: Tensor | None = None
    pictures: Tensor | None = None
    readers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self,
        indices: Tensor,
        device: torch.device | str = "cpu",
        pixels: Tensor | None = None,
        share: Share = WHOLE,
    ) -> Batch:
        """The images of these numbers [B], ready for the model, on a device; `pixels` where they are read already.

        Args:
            share: who reads the images of its own rows alone, since it looks at no others.
        """
        pixels = _read(self.source, [indices], share, 0) if pixels is None else pixels
        return Batch(self.view.normalise(pixels.to(device)), self.labels[indices].to(device), indices)

    def batches(self, size: int, device: torch.device | str = "cpu", share: Share = WHOLE) -> Iterator[Batch]:
        """The whole split in order, in batches of at most `size`; `share` as for `batch`."""
        parts = torch.arange(len(self)).split(size)
        coming = ahead(partial(_read, self.source, parts, share), range(len(parts)), self.readers, device)
        for indices, pixels in zip(parts, coming, strict=True):
            yield self.batch(indices, device, pixels)

    def counts(self, classes: int) -> list[int]:
        """The number of images of each class, `classes` of them."""
        return torch.bincount(self.labels, minlength=classes).tolist()

    @property
    def parts(self) -> Domains | None:
        """What may be told apart in the split: its domains, or else its groups; None where there are not two."""
        several = (parts for parts in (self.domains, self.groups) if parts is not None and len(parts.present) > 1)
        return next(several, None)

    @property
    def told_apart(self) -> Domains | None:
        """`parts` of the whole that this split is a part of, which may have images of one domain alone."""
        several = (parts for parts in (self.domains, self.groups) if parts is not None and len(parts.names) > 1)
        return next(several, None)

    def subset(self, indices: Tensor, name: str | None = None) -> Split:
        """A split of these images [B] alone."""
        return replace(
            self,
            name=name or self.name,
            source=_Subset(self.source, indices.tolist()),
            labels=self.labels[indices],
            domains=None if self.domains is None else self.domains.at(indices),
            groups=None if self.groups is None else self.groups.at(indices),
            pictures=None if self.pictures is None else self.pictures[indices],
        )


def _read(source: ImageSource, parts: Sequence[Tensor], share: Share, number: int) -> Tensor:
    indices = parts[number].tolist()
    return read(source, indices, share.rows(len(indices)))


@dataclass(frozen=True)
class _Subset:
    source: ImageSource
    indices: list[int]

    def pixels(self, indices: Sequence[int]) -> Tensor:
        return self.source.pixels([self.indices[i] for i in indices])


@dataclass(frozen=True)
class _Joined:
    first: Split
    second: Split

    def pixels(self, indices: Sequence[int]) -> Tensor:
        n = len(self.first)
        order = sorted(range(len(indices)), key=lambda k: indices[k] >= n)
        rows = ([i for i in indices if i < n], [i - n for i in indices if i >= n])
        parts = [part.source.pixels(r) for part, r in zip((self.first, self.second), rows, strict=True) if r]
        return torch.cat(parts)[torch.tensor(order).argsort()]


def joined(name: str, first: Split, second: Split) -> Split:
    """The images of two splits as one, in their order."""
    readers, labels = max(first.readers, second.readers), torch.cat([first.labels, second.labels])
    return Split(name, _Joined(first, second), labels, first.view, readers=readers)


def origin(source: ImageSource, index: int) -> tuple[ImageSource, int]:
    """The source that an image of subsets and sums of splits is taken from, and its number there."""
    if isinstance(source, _Subset):
        return origin(source.source, source.indices[index])
    if isinstance(source, _Joined):
        n = len(source.first)
        return origin(source.first.source, index) if index < n else origin(source.second.source, index - n)
    return source, index


def concatenated(name: str, parts: Sequence[tuple[str, Split]]) -> Split:
    """The images of named domains, at least one, as one split in their order."""
    (_, together), *others = parts
    for _, split in others:
        together = joined(name, together, split)
    sizes = torch.tensor([len(split) for _, split in parts])
    numbers = torch.arange(len(parts)).repeat_interleave(sizes)
    return replace(together, name=name, domains=Domains(tuple(domain for domain, _ in parts), numbers))


@dataclass(frozen=True)
class PixelArray:
    """Images held in memory, uint8 [N, 3, S, S], enlarged or shrunk (bicubic) where a model wants another size."""

    array: Tensor
    size: int

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, size, size]."""
        chosen = self.array[torch.as_tensor(indices, dtype=torch.long)]
        if chosen.shape[-1] == self.size:
            return chosen
        return F.interpolate(chosen, size=(self.size, self.size), mode="bicubic", antialias=True)


@dataclass(frozen=True)
class Corrupted(PixelArray):
    """Corrupted images held in memory, and the same before they were corrupted."""

    clean: ImageSource


def refuse_unusable(classes: Classes, splits: Sequence[Split] = ()) -> None:
    """Raise a DataError where there is nothing to tell apart or nothing to train or judge on."""
    if len(classes.names) < 2:
        names = ", ".join(classes.names)
        raise DataError(f"data: {len(classes.names)} class found ({names}); allowed: at least two classes")
    classes.refuse_alike()
    for split in splits:
        if len(split) == 0:
            raise DataError(f"{split.name}: no images found; allowed: at least one")


@dataclass(frozen=True)
class SearchData:
    """All that a search, or a training method, may see. It has no test split.

    Args:
        more: further labelled training images by name, of the same classes.
    """

    id_train: Split
    id_val: Split
    ood_val: Split
    classes: Classes
    more: Mapping[str, Split] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_unusable(self.classes, (self.id_train, self.id_val, self.ood_val, *self.more.values()))

    @property
    def sources(self) -> dict[str, Split]:
        """What may be trained on beside id_train, by name: `ood_val`, and `more`."""
        return {"ood_val": self.ood_val, **self.more}


@dataclass(frozen=True)
class Splits:
    """A data set: what a search may see, and the test splits by name (`id_test`, `ood_test/NAME`).

    Args:
        labelled_half: as many labelled images from the distribution of the OOD tests, none of them in a test; only
            the oracle may train on them. None where a data set has no images to spare.
        more: see `SearchData`.
        pretraining: images like those that the model was pretrained on, whose labels say nothing; only rehearsal may
            train on them. None where a data set has none, or has them in `more`.
    """

    id_train: Split
    id_val: Split
    ood_val: Split
    tests: Mapping[str, Split]
    classes: Classes
    labelled_half: Split | None = None
    more: Mapping[str, Split] = field(default_factory=dict)
    pretraining: Split | None = None

    def __post_init__(self) -> None:
        refuse_unusable(self.classes, tuple(self.parts.values()))

    @property
    def search_data(self) -> SearchData:
        """The splits that a search may see, without tests."""
        return SearchData(self.id_train, self.id_val, self.ood_val, self.classes, self.more)

    @property
    def parts(self) -> dict[str, Split]:
        """Every split by name."""
        parts = {"id_train": self.id_train, "id_val": self.id_val, "ood_val": self.ood_val}
        parts |= {f"more/{name}": split for name, split in self.more.items()}
        parts |= self.tests
        return parts if self.labelled_half is None else {**parts, "labelled_half": self.labelled_half}

    @property
    def rehearsal_data(self) -> SearchData | None:
        """What a search sees, with images like those of pretraining among `more`; None: there are none."""
        drawn = {} if self.pretraining is None else {PRETRAINING: self.pretraining}
        seen = replace(self.search_data, more={**drawn, **self.more})
        return seen if PRETRAINING in seen.more else None

    @property
    def oracle_data(self) -> SearchData | None:
        """The labelled half in place of the ID images: nine tenths to train on, one to choose by."""
        if self.labelled_half is None:
            return None
        n = len(self.labelled_half)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        train, val = (self.labelled_half.subset(rows) for rows in (order[n // 10 :], order[: n // 10]))
        return SearchData(train, val, self.ood_val, self.classes)
