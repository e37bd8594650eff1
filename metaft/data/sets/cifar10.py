"""cifar10: CIFAR-10, and as other distributions CIFAR-10.1, 10.2, 10-C, STL-10 and the part of CINIC-10 from ImageNet.

The root holds cifar-10-batches-py/ as torchvision unpacks it. Pictures of 10-C are corrupted ones of id_test, so
whoever trains on ood_val has seen some of that; CINIC-10's other pictures are CIFAR-10's own and are left out. STL-10
has a class that CIFAR-10 lacks (monkey), which is left out, and lacks one (frog), which is no answer there.

Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009; Recht et al., 1806.00451 (10.1, v6);
Lu et al., Harder or different?, 2020 (10.2); Hendrycks and Dietterich, ICLR 2019 (10-C); Coates et al., AISTATS 2011
(STL-10); Darlow et al., 1810.03505 (CINIC-10). AutoFT (arXiv 2401.10220) judges by 100 pictures of 10-C, severity 5.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from metaft.data.sets.arrays import Array, contents, labels_of, listed, npy, tables, unpickled
from metaft.data.sets.entry import Entry, Home, Known, Layout, Names, Part, Place, Reader, SetOptions
from metaft.data.sets.trees import Tree
from metaft.errors import DataError

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CORRUPTIONS = (
    *("brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_blur"),
    *("gaussian_noise", "glass_blur", "impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "saturate"),
    *("shot_noise", "snow", "spatter", "speckle_noise", "zoom_blur"),
)
SEVERITIES = 5
# CIFAR-10's label for each of STL-10's: airplane, bird, car, cat, deer, dog, horse, monkey, ship, truck
STL10 = (0, 2, 1, 3, 4, 5, 7, None, 8, 9)
STL10_SIDE = 96


class Options(SetOptions):
    """Settings of `data.format: cifar10`, under `data.options`; `severity`, 1 to 5, is that of cifar10_c."""

    ood_val_from: Names = ("cifar10_c",)
    ood_val: int | None = Field(100, ge=1)
    severity: int = Field(5, ge=1, le=SEVERITIES)


def _batches(*names: str) -> Reader:
    """Lists files of CIFAR-10 for Python."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        files = [place / batch for batch in names]
        gone = [file.name for file in files if not os.path.lexists(file)]
        if gone:
            raise DataError(f"{name}: {place}: no {gone[0]} there; allowed: the folder as it is given away")
        labels = [contents(name, file, _labels_of_batch) for file in files]
        return listed(name, [(Array.at(file, _images_of_batch), own) for file, own in zip(files, labels, strict=True)])

    return read


def _batch(path: Path) -> Any:
    with path.open("rb") as file:
        return unpickled(file)


def _labels_of_batch(path: Path) -> Any:
    return _batch(path)["labels"]


def _images_of_batch(path: Path) -> Any:
    """[N, 3072], one colour after the other, as [N, 32, 32, 3]."""
    return _batch(path)["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _labels_in(name: str, path: Path) -> list[int]:
    """The labels of a split in a file of their own."""
    return labels_of(name, path, contents(name, path, lambda place: list(npy(place))))


def _beside(labels: str) -> Reader:
    """Lists an array whose labels lie in a file beside it."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        return listed(name, [(Array.at(place, npy), _labels_in(name, place.with_name(labels)))])

    return read


def _table(name: str, place: Path, classes: Sequence[str]) -> Listed:
    """Lists the arrays `images` and `labels` of one file."""
    return listed(name, [(Array.at(place, _images_of_table), contents(name, place, _labels_of_table))])


def _labels_of_table(path: Path) -> Any:
    return tables(path)["labels"]


def _images_of_table(path: Path) -> Any:
    return tables(path)["images"]


def _corrupted(severity: int) -> Reader:
    """Lists a file for each corruption: five blocks of rows by severity, all of the same pictures in one order."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        there = [what for what in CORRUPTIONS if (place / f"{what}.npy").is_file()]
        if not there:
            raise DataError(f"{name}: {place}: no {CORRUPTIONS[0]}.npy or others; allowed: a file for each corruption")
        labels = _labels_in(name, place / "labels.npy")
        size = len(labels) // SEVERITIES
        arrays = [(Array.at(place / f"{what}.npy", npy), labels) for what in there]
        found = listed(name, arrays, slice((severity - 1) * size, severity * size))
        domains = [what for what in there for _ in range(size)]
        groups = [f"picture {row}" for _ in there for row in range(size)]
        return replace(found, where=place, domains=domains, groups=groups)

    return read


def _stl10(part: str, name: str, place: Path, classes: Sequence[str]) -> Listed:
    """Lists a pair of STL-10's files: labels from 1, pictures column by column."""
    labels = contents(name, place / f"{part}_y.bin", partial(np.fromfile, dtype=np.uint8))
    odd = [label for label in labels if not 1 <= label <= len(STL10)]
    if odd:
        raise DataError(f"{name}: {place / f'{part}_y.bin'}: a label {odd[0]}; allowed: 1 to {len(STL10)}")
    numbers = [STL10[label - 1] for label in labels]
    kept = [row for row, label in enumerate(numbers) if label is not None]
    array = Array.at(place / f"{part}_X.bin", _images_of_stl10)
    everything = listed(name, [(array, [number or 0 for number in numbers])])
    left_out = everything.left_out.copy()
    left_out["of other classes"] += len(numbers) - len(kept)
    return replace(everything.subset(kept), left_out=left_out)


def _images_of_stl10(path: Path) -> Any:
    return np.memmap(path, np.uint8, "r").reshape(-1, 3, STL10_SIDE, STL10_SIDE).transpose(0, 3, 2, 1)


def _from_imagenet(file: str) -> bool:
    """Whether a picture of CINIC-10 is one of ImageNet: those of CIFAR-10 say so in their names."""
    return file.startswith("n")


KRIZHEVSKY = Home("none stated; cite the report", "https://www.cs.toronto.edu/~kriz/cifar.html")
BATCHES = "cifar-10-batches-py"


LAYOUT = Layout(
    lambda root: Known(NAMES, NAMES),
    {
        "id_train": Part(
            (Place(BATCHES, _batches(*(f"data_batch_{number}" for number in range(1, 6)))),), 50_000, KRIZHEVSKY
        ),
        "id_test": Part((Place(BATCHES, _batches("test_batch")),), 10_000, KRIZHEVSKY),
    },
)


def _shifts(options: Options) -> dict[str, Part]:
    return {
        "cifar10_1": Part(
            tuple(
                Place(f"{folder}/cifar10.1_v6_data.npy", _beside("cifar10.1_v6_labels.npy"))
                for folder in ("CIFAR-10.1", "CIFAR-10.1/datasets")  # by itself, or in a clone of the repository
            ),
            2_000,
            Home("MIT", "https://github.com/modestyachts/CIFAR-10.1"),
        ),
        "cifar10_2": Part(
            tuple(Place(f"CIFAR-10.2/cifar102_test.{kind}", _table) for kind in ("npz", "npy")),
            2_000,
            Home("none stated", "https://github.com/modestyachts/cifar-10.2"),
        ),
        "cifar10_c": Part(
            (Place("CIFAR-10-C", _corrupted(options.severity)),),
            190_000,
            Home("CC-BY-4.0", "https://zenodo.org/records/2535967"),
            on_request=True,
        ),
        "stl10": Part(
            (Place("stl10_binary", partial(_stl10, "test")),),
            7_200,
            Home("none stated; pictures are ImageNet's", "https://cs.stanford.edu/~acoates/stl10"),
            answers=lambda: [-1 if name == "frog" else label for label, name in enumerate(NAMES)],
        ),
        "cinic10": Part(
            tuple(Place(f"{folder}/test", Tree(only=_from_imagenet)) for folder in ("CINIC-10", "cinic-10")),
            70_000,
            Home("MIT; pictures are ImageNet's", "https://datashare.is.ed.ac.uk/handle/10283/3192"),
        ),
    }


ENTRY = Entry(lambda options: [LAYOUT], templates=("a photo of a {}.",), metric="accuracy", shifts=_shifts)
