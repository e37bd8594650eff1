"""Which images are drawn, by their labels and a seed: numbers of images, so that no picture is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metaft.errors import DataError

if TYPE_CHECKING:
    from metaft.data.types import Split

Rows = list[int]


def drawn(labels: Sequence[int], domains: Sequence[str | None] | None, count: int, seed: int, balanced: bool) -> Rows:
    """The numbers of `count` of N images, ascending; of all where there are no more.

    Args:
        labels: the class of each image.
        domains: the domain of each image, where there are domains.
        balanced: as many of each class as there can be, and within a class as many of each domain.
    """
    order = _order(labels, seed)
    if balanced:
        classes = torch.tensor(labels)
        names = {name: number for number, name in enumerate(dict.fromkeys(domains or [None]))}
        numbers = torch.tensor([names[name] for name in domains or [None] * len(labels)])
        order = order[_turns((classes * len(names) + numbers)[order]).argsort(stable=True)]
        order = order[_turns(classes[order]).argsort(stable=True)]
    return _ascending(order[:count])


def few(labels: Sequence[int], count: int, seed: int) -> Rows:
    """The numbers of `count` images of each class, or of all where a class has fewer, ascending."""
    order = _order(labels, seed)
    return _ascending(order[_turns(torch.tensor(labels)[order]) < count])


def held_out(labels: Sequence[int], share: float, seed: int) -> tuple[Rows, Rows]:
    """The numbers of those that stay, and of a share of each class: at least one image, where it has two."""
    classes, order = torch.tensor(labels), _order(labels, seed)
    sizes = torch.bincount(classes)
    counts = torch.where(sizes > 1, (sizes * share).long().clamp(min=1), 0)
    held = _turns(classes[order]) < counts[classes[order]]
    return _ascending(order[~held]), _ascending(order[held])


def hold_out(train: Split, seed: int) -> tuple[Split, Split]:
    """The rest of a split, and `id_val`: a tenth of each class (at least one image, where it has two).

    Raises:
        DataError: each class has one image.
    """
    kept, held = held_out(train.labels.tolist(), 0.1, seed)
    if not held:
        found = f"{len(train)} images, one a class, of which none can be held out for id_val"
        raise DataError(f"{train.name}: {found}; allowed: two images of a class, or an id_val of its own")
    return train.subset(torch.tensor(kept)), train.subset(torch.tensor(held, dtype=torch.long), "id_val")


def dealt(labels: Sequence[int], count: int, seed: int) -> list[Rows]:
    """The numbers of the images in each of some parts, to which those of one class after the other are dealt around."""
    order = _order(labels, seed)
    order = order[torch.tensor(labels)[order].argsort(stable=True)]
    return [_ascending(order[part::count]) for part in range(count)]


def without(split: Split, rows: Tensor) -> Split:
    """The images of a split but these."""
    everything = torch.arange(len(split))
    return split.subset(everything[~torch.isin(everything, rows)])


def _order(labels: Sequence[int], seed: int) -> Tensor:
    return torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))


def _turns(keys: Tensor) -> Tensor:
    """How many equal keys [N] stand before each."""
    ordered, places = keys.sort(stable=True)
    _, numbers, counts = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    first = counts.cumsum(0) - counts
    return torch.empty_like(keys).scatter_(0, places, torch.arange(len(keys)) - first[numbers])


def _ascending(rows: Tensor) -> Rows:
    ordered: Rows = rows.sort().values.tolist()
    return ordered
