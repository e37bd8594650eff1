"""Corrupted ID images in the place of OOD validation, for those who have no labelled OOD images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from metaft.config.schema import DataConfig
from metaft.data.corruptions.corrupt import corrupt
from metaft.data.corruptions.settings import chosen
from metaft.data.decode import quiet
from metaft.data.draws import without
from metaft.data.duplicates import copies
from metaft.data.types import Corrupted, Domains, ImageView, Split, Splits
from metaft.errors import DataError
from metaft.progress import tell, track

SHARE, MOST = 10, 1000  # by default a tenth of id_train, at most so many images


def with_corrupted(splits: Splits, data: DataConfig, seed: int) -> Splits:
    """A data set with corrupted images as `ood_val`, a domain for each corruption; its own `ood_val` is left out.

    The images are held out of `id_train`, and neither they nor copies of them stay there or in `id_val`: `ood_val` may
    train, and no image that does may judge. For the same reason each is corrupted once, in one way: no fold judges by
    an image of which another trains on a variant. They are corrupted as the model sees them, after its resize and crop,
    as those of ImageNet-C are.

    Raises:
        DataError: `id_train` has too few images, or none in 8 bits.
    """
    names, train = chosen(data), splits.id_train
    if not isinstance(train.view, ImageView):
        raise DataError("data.corruptions: id_train is of floats; allowed: PIL images without preprocess, or uint8")
    rows = _held_out(train.labels, len(names), data.corrupted, seed)
    clean = train.subset(rows, "ood_val")
    domains = Domains(names, _dealt(clean.labels, len(names)))
    array = _corrupted(clean, [names[number] for number in domains.numbers.tolist()], data.severity, seed)
    what = f"{len(rows)} images held out of id_train, corrupted ({', '.join(names)}; severity {data.severity})"
    tell(f"ood_val: {what}: a stand-in for labelled images of the real shift, which it may be unlike")
    return replace(
        splits,
        id_train=_without_copies(without(train, rows), clean),
        id_val=_without_copies(splits.id_val, clean),
        ood_val=replace(clean, source=Corrupted(array, train.view.size, clean.source), domains=domains),
    )


def _held_out(labels: Tensor, ways: int, wanted: int | None, seed: int) -> Tensor:
    """The numbers, in order, of so many images, or by default of a tenth of them.

    Raises:
        DataError: there are fewer than ways to corrupt them, or more than leave an image of each class.
    """
    count = min(MOST, len(labels) // SHARE) if wanted is None else wanted
    rows = by_shares(labels, seed)
    if not ways <= count <= len(rows):
        found = f"{count} images for {ways} corruptions, of {len(labels)} in id_train"
        allowed = f"{ways} to {len(rows)}: one of each corruption, and one of each class left to train on"
        raise DataError(f"data.corrupted: {found}; allowed: {allowed}")
    return rows[:count].sort().values


def by_shares(labels: Tensor, seed: int) -> Tensor:
    """The numbers of all images but one of each class, so that the first of them have each class in its share.

    Which image is left out, and the order within a class, are drawn by the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    places = torch.empty(len(labels), dtype=torch.float64)
    last = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        places[rows] = (torch.arange(len(rows)) + 0.5).double() / len(rows)
        last[rows[-1]] = True
    order = places.argsort(stable=True)
    return order[~last[order]]


def _without_copies(split: Split, of: Split) -> Split:
    """The images of a split that another does not have too."""
    twice = copies(of, split)
    if not twice:
        return split
    tell(f"{split.name}: {len(twice)} left out, copies of images that {of.name} was made of")
    return without(split, torch.tensor(twice))


def _dealt(labels: Tensor, count: int) -> Tensor:
    """A number below `count` for each image [N], dealt around over one class after the other."""
    numbers = torch.empty_like(labels)
    numbers[labels.argsort(stable=True)] = torch.arange(len(labels)) % count
    return numbers


def _corrupted(split: Split, names: list[str], severity: int, seed: int) -> Tensor:
    """Each image of a split in its corruption, uint8 [N, 3, S, S]; its random numbers are its own."""
    size = split.view.size
    array = torch.empty(len(split), 3, size, size, dtype=torch.uint8)

    def one(number: int) -> None:
        image = split.source.pixels([number])[0].permute(1, 2, 0).numpy()
        changed = corrupt(image, names[number], severity, np.random.default_rng([seed, number]))
        array[number] = torch.from_numpy(changed).permute(2, 0, 1)

    with quiet(), ThreadPoolExecutor() as pool:  # quiet once for all threads, of which some may decode
        list(track(pool.map(one, range(len(split))), "corrupting", total=len(split), unit="image"))
    return array
