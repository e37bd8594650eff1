"""Cross-fitting: a split dealt into folds, so that no image judges a model that was trained on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaft.data.draws import dealt, without
from metaft.data.types import Domains, Split
from metaft.errors import DataError


@dataclass(frozen=True)
class Fold:
    """The part of a split that trains and the part, without a picture in common, that judges."""

    fitting: Split
    judging: Split


def folds(split: Split, count: int, seed: int) -> tuple[Fold, ...]:
    """Cross-fitting folds: each image judges in one of them and fits in all others but those where a copy judges.

    Where images of two named domains or more are there, or else of two groups, whole ones are dealt, the largest first
    to the smallest fold: a fold judges domains that are not trained on. Otherwise images are dealt evenly over folds
    and classes, and copies of a picture stay together.

    Args:
        count: how many folds, at least 2; there are no more of them than domains, where domains are dealt.
        seed: of the images in each fold, or where domains are dealt, of the order of the folds.

    Raises:
        DataError: the split cannot be dealt so; see `unsplittable`.
    """
    reason = unsplittable(split, count)
    if reason is not None:
        raise DataError(reason)
    return tuple(Fold(without(split, _copies(split, part)), split.subset(part)) for part in _dealt(split, count, seed))


def unsplittable(split: Split, count: int) -> str | None:
    """Why a split cannot be dealt into folds, for a message; None where it can, then with every seed."""
    if count < 2:
        return f"{split.name}: {count} folds; allowed: at least 2"
    parts = split.parts
    count = count if parts is None else min(count, len(_members(parts)))
    different = len(_firsts(split))
    if different < 2 * count:
        return f"{split.name}: {different} images, too few for {count} folds; allowed: at least {2 * count}"
    for part in _dealt(split, count, 0):  # the classes in each fold are those of any seed
        classes, where = split.labels[part].unique(), "one" if parts is None else _names(split, parts.at(part))
        if len(classes) == 1:
            found = f"in {count} folds, {where} would judge by class {int(classes)} alone"
            return f"{split.name}: {found}; allowed: at least two classes in each"
        if len(_copies(split, part)) == len(split):
            found = f"in {count} folds, {where} has every picture of the others"
            return f"{split.name}: {found}; allowed: pictures of its own in each"
    return None


def _copies(split: Split, part: Tensor) -> Tensor:
    """The numbers of images [B], and of all that show the same pictures."""
    if split.pictures is None:
        return part
    return torch.isin(split.pictures, split.pictures[part]).nonzero()[:, 0]


def _firsts(split: Split) -> Tensor:
    """The number of the first image of each picture, ascending."""
    seen = dict[int, int]()
    pictures = range(len(split)) if split.pictures is None else split.pictures.tolist()
    return torch.tensor([row for row, picture in enumerate(pictures) if seen.setdefault(picture, row) == row])


def _members(parts: Domains) -> list[Tensor]:
    """The numbers of the images [B] of each domain or group, and of those in none."""
    return [(parts.numbers == number).nonzero()[:, 0] for number in parts.numbers.unique()]


def _names(split: Split, parts: Domains) -> str:
    """The domains, or groups, of some images, for a message."""
    kind = "domain" if split.parts is split.domains else "group"
    return f"{kind} {' with '.join(parts.names[number] for number in parts.present) or 'none'}"


def _dealt(split: Split, count: int, seed: int) -> list[Tensor]:
    """The numbers [B] of the images that judge in each fold, in order; every image is in one."""
    if split.parts is None:
        firsts = _firsts(split)
        return [_copies(split, firsts[part]) for part in dealt(split.labels[firsts].tolist(), count, seed)]
    members = _members(split.parts)
    count = min(count, len(members))
    held: list[list[Tensor]] = [[] for _ in range(count)]
    for rows in sorted(members, key=len, reverse=True):
        min(held, key=lambda fold: sum(map(len, fold))).append(rows)
    parts = [torch.cat(rows).sort().values for rows in held]
    return [parts[i] for i in torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()]
