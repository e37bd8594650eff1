"""The user's own map-style datasets of (image, label) as splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Subset

from metaft.config.schema import DataConfig
from metaft.data.ahead import processes
from metaft.data.decode import opaque
from metaft.data.decoded import MEMORY
from metaft.data.draws import hold_out
from metaft.data.grouping import Beside, Given, whole
from metaft.data.sources import MORE, usable
from metaft.data.sources import NAMES as OF_SOURCES
from metaft.data.trained import trained
from metaft.data.types import Classes, ImageView, Ready, Split, Splits, concatenated
from metaft.errors import ConfigError, DataError, Fault, first_line, nearest
from metaft.texts import PLAIN, oddity

NEEDED = ("id_train", "ood_val")
NAMES = ("id_train", "id_val", "ood_val", "ood_val/NAME", "id_test", "ood_test/NAME", "more/NAME")
SINGLE = tuple(name for name in NAMES if "/" not in name)
GROUPS = ("ood_val/", "ood_test/", MORE)  # splits of which there may be several, each with a name
GROUND = DataConfig().ground  # beneath transparent pictures
PAIR = "a pair (image, label)"
TRIPLE = f"{PAIR}; what else is known of images is given beside the splits, as `domains` and `groups`"
Preprocess = Callable[[Any], Tensor]


@dataclass(frozen=True)
class _Reader:
    """How one dataset is read.

    Args:
        where: the argument's name in messages.
        classes: how many there are; labels are whole numbers below it.
        view: the model's, for PIL images without `preprocess` and for uint8 tensors.
        preprocess: from a PIL image to what the model takes, float [3, S, S]; None: the model's own.
    """

    where: str
    dataset: Any
    classes: int
    view: ImageView
    preprocess: Preprocess | None

    def read(self, number: int) -> tuple[Tensor, int]:
        """An item as pixels [3, S, S] and its label.

        Raises:
            DataError: the item is no pair of an image and a label.
        """
        try:
            item = self.dataset[number]
        except Exception as error:  # of a person's own code, or of a decoder
            found = f"item {number} cannot be read ({first_line(error)})"
            raise DataError(f"{self.where}: {found}; allowed: {PAIR}") from error
        if isinstance(item, tuple | list) and len(item) > 2:
            raise self._error(number, f"a {type(item).__name__} of {len(item)}", TRIPLE)
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise self._error(number, f"a {type(item).__name__} without a label", PAIR)
        return self._pixels(number, item[0]), self._label(number, item[1])

    def _pixels(self, number: int, image: Any) -> Tensor:
        if isinstance(image, Image):
            image = self._plain(number, image) if self.preprocess is None else self._prepared(number, image)
        shape = (3, self.view.size, self.view.size)
        if not isinstance(image, Tensor):
            origin = "what preprocess makes of an image" if self.preprocess else "an image"
            raise self._error(number, f"{origin} of type {type(image).__name__}", "a PIL image or a tensor")
        if image.shape != shape:
            allowed = f"{list(shape)}, or PIL images, which are preprocessed"
            raise self._error(number, f"an image of shape {list(image.shape)}", allowed)
        if not (image.is_floating_point() or image.dtype == torch.uint8):
            allowed = "uint8 in 0 to 255, or floats as the model takes them"
            raise self._error(number, f"an image of {image.dtype}", allowed)
        if not image.isfinite().all():
            raise self._error(number, "an image with NaN or infinite values", "finite ones")
        return image.detach()

    def _prepared(self, number: int, image: Image) -> Any:
        """What a person's own preprocessing makes of a picture."""
        assert self.preprocess is not None
        try:
            return self.preprocess(image)
        except Exception as error:  # of a person's own code
            reason = first_line(error)
            raise self._error(number, f"an image that preprocess cannot take ({reason})", "a PIL image") from error

    def _plain(self, number: int, image: Image) -> Tensor:
        """A picture of any kind at the model's size, as one of a file is."""
        allowed = "a whole PIL image of 8 or 16 bits, or floats"
        if 0 in image.size:
            raise self._error(number, f"an image of {image.width} x {image.height} pixels", allowed)
        try:
            return self.view.transform(opaque(image, GROUND)[0])
        except Exception as error:  # a file that is opened here for the first time makes its decoder raise anything
            raise self._error(number, f"an image with a fault ({first_line(error)})", allowed) from error

    def _label(self, number: int, label: Any) -> int:
        value = whole(label)
        if value is None or not 0 <= value < self.classes:
            allowed = f"whole numbers from 0 to {self.classes - 1}, the place of the class in classnames"
            raise self._error(number, f"label {label!r}", allowed)
        return value

    def _error(self, number: int, content: str, allowed: str) -> DataError:
        return DataError(f"{self.where}: item {number} has {content}; allowed: {allowed}")

    def split(self, name: str, workers: int) -> Split:
        """Read every item once, so that a fault shows before any training; pixels are kept if all fit in MEMORY.

        Args:
            workers: how many processes read ahead what is not kept.

        Raises:
            DataError: nothing to read, or an item that is no pair of an image and a label.
        """
        count = _length(self.where, self.dataset)
        labels, kept = [], []
        size, dtype = 0, None
        for number in range(count):
            pixels, label = self.read(number)
            if dtype not in (None, pixels.dtype):
                raise self._error(number, f"an image of {pixels.dtype} after others of {dtype}", "one kind of images")
            dtype, size = pixels.dtype, size + pixels.numel() * pixels.element_size()
            labels.append(label)
            if size <= MEMORY:
                kept.append(pixels)
        source = Kept(torch.stack(kept)) if len(kept) == count else Asked(self)
        view = self.view if dtype == torch.uint8 else Ready(self.view.size)
        readers = processes(workers) if isinstance(source, Asked) else 0
        return Split(name, source, torch.tensor(labels), view, readers=readers)


@dataclass(frozen=True)
class Kept:
    """Images held in memory, [N, 3, S, S]."""

    array: Tensor

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """[B, 3, S, S]."""
        return self.array[torch.as_tensor(indices, dtype=torch.long)]


@dataclass(frozen=True)
class Asked:
    """Images that are read from a dataset each time they are needed."""

    reader: _Reader

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """[B, 3, S, S]."""
        return torch.stack([self.reader.read(i)[0] for i in indices])


def _length(where: str, dataset: Any) -> int:
    allowed = "a map-style torch.utils.data.Dataset, with __len__ and __getitem__"
    if isinstance(dataset, type):
        raise DataError(f"{where}: the class {dataset.__name__}; allowed: an object of it")
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(f"{where}: a {type(dataset).__name__}; allowed: {allowed}")
    try:
        count = len(dataset)
    except Exception as error:  # of a person's own code
        raise DataError(f"{where}: its length cannot be had ({first_line(error)}); allowed: {allowed}") from error
    if count == 0:
        raise DataError(f"{where}: empty; allowed: at least one image")
    return count


def splits_of(
    datasets: Mapping[str, Any],
    classes: Classes,
    view: ImageView,
    preprocess: Preprocess | None,
    seed: int,
    *,
    domains: Given | None = None,
    groups: Given | None = None,
    needs_ood_val: bool = True,
    workers: int = 0,
) -> Splits:
    """The splits of datasets by name: `id_train`, `id_val`, `ood_val`, `id_test`, `ood_test/NAME`, `more/NAME`.

    `ood_val` may be several, `ood_val/NAME`, each a domain. `more/NAME` are further labelled images to train on.
    `domains` and `groups` are beside the datasets, so that any dataset will do as it is: by split a name or a whole
    number for each image, in the order of the dataset (of a subset of the package wilds, `metadata_array[:, i]`).

    PIL images go through `preprocess`, or where there is none through the model's own transform; tensors are taken as
    they are, uint8 ones as pixels, others as what the model takes. Every image is read once and kept while a split has
    less than 2 GiB, so random augmentation is drawn once; of more, `workers` processes read ahead, each with random
    numbers of its own. Without `id_val` a tenth of `id_train` is held out. Where `ood_val` is not needed, since
    `data.corruptions` will make it, `id_val` keeps its place.

    Raises:
        ConfigError: a name that is no split's, one that is missing, a dataset under two names, domains or groups that
            are not those of its images (see `metaft.data.grouping.Beside`).
        DataError: a dataset that is empty or has items that are no pairs of an image and a label; domains with
            images of different kinds.
    """
    faults = _name_faults(datasets, needs_ood_val)
    if faults:
        raise ConfigError(faults)
    sizes = {name: _length(f"splits[{name!r}]", dataset) for name, dataset in datasets.items()}
    beside = Beside.of(domains or {}, groups or {}, sizes)
    read = {
        name: beside.on(
            _Reader(f"splits[{name!r}]", dataset, len(classes.names), view, preprocess).split(name, workers), name
        )
        for name, dataset in datasets.items()
    }
    if "id_val" not in read:
        read["id_train"], read["id_val"] = hold_out(read["id_train"], seed)
    parts = _group(read, "ood_val/")
    return trained(
        Splits(
            id_train=read["id_train"],
            id_val=read["id_val"],
            ood_val=_of_domains(parts, beside) if parts else read.get("ood_val", read["id_val"]),
            tests={name: split for name, split in read.items() if name == "id_test" or name.startswith("ood_test/")},
            classes=classes,
            more=_group(read, MORE),
        )
    )


def _group(splits: Mapping[str, Split], prefix: str) -> dict[str, Split]:
    """The splits whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): split for name, split in splits.items() if name.startswith(prefix)}


def _of_domains(domains: Mapping[str, Split], beside: Beside) -> Split:
    """The validation images of several domains as one split.

    Raises:
        DataError: they are not of one kind, so that one view does not fit them all.
    """
    kinds = {name: "pixels in uint8" if isinstance(s.view, ImageView) else "floats" for name, s in domains.items()}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{name} of {kind}" for name, kind in kinds.items())
        raise DataError(f"splits['ood_val/NAME']: images of two kinds ({found}); allowed: one kind of images")
    return beside.on(concatenated("ood_val", list(domains.items())), *(f"ood_val/{name}" for name in domains))


def _name_faults(datasets: Mapping[str, Any], needs_ood_val: bool) -> list[Fault]:
    allowed = ", ".join(NAMES)
    given = list(map(str, datasets))
    domains = [name for name in given if name.startswith("ood_val/")]
    present = {*given, "ood_val"} if domains or not needs_ood_val else {*given}
    faults = [Fault(f"splits[{name!r}]", "missing", "a dataset") for name in NEEDED if name not in present]
    if domains and "ood_val" in given:
        faults.append(Fault("splits['ood_val']", f"given, and {domains[0]!r} too", "ood_val, or its domains"))
    for name in given:
        group = next((group for group in GROUPS if name.startswith(group) and name != group), None)
        if group is None and name not in SINGLE:
            faults.append(Fault(f"splits[{name!r}]", "unknown name", allowed, nearest(name, NAMES)))
        elif odd := oddity(name):
            faults.append(Fault(f"splits[{name!a}]", f"a name with {odd}", PLAIN))
        elif group == MORE and not usable(name.removeprefix(group)):
            faults.append(Fault(f"splits[{name!r}]", "not the name of a source", f"more/NAME of {OF_SOURCES}"))
    for (first, one), (second, other) in combinations(datasets.items(), 2):
        if _shared(one, other):
            shared = f"images that splits[{first!r}] has too"
            faults.append(Fault(f"splits[{second!r}]", shared, "each image in one split"))
    return faults


def _shared(one: Any, other: Any) -> bool:
    """Whether two datasets are the same, or parts of the same that overlap."""
    (base, rows), (base_2, rows_2) = _rows(one), _rows(other)
    if base is not base_2:
        return False
    return rows is None or rows_2 is None or bool(rows & rows_2)


def _rows(dataset: Any) -> tuple[Any, set[int] | None]:
    """The dataset that a (nested) subset is taken from, and its items' numbers there; None: all of them."""
    if not isinstance(dataset, Subset):
        return dataset, None
    base, rows = _rows(dataset.dataset)
    chosen = [int(i) for i in dataset.indices]
    if rows is None or not isinstance(dataset.dataset, Subset):
        return base, set(chosen)
    inner = [int(i) for i in dataset.dataset.indices]
    return base, {inner[i] for i in chosen}
