"""Validation images of ILSVRC 2012: in class folders, or all in one folder as given away, with their labels beside it.

Kaggle's LOC_val_solution.csv says the class of each image by name, in no order; the development kit's ground truth says
it in the order of the images, by numbers of its own (meta.mat), which are not those of sorted class folders.

Source: the development kit's readme.txt (image-net.org) and Kaggle's ImageNet Object Localization Challenge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaft.data.sets.arrays import contents, matlab
from metaft.data.sets.trees import Tree
from metaft.data.table import read_table
from metaft.data.tree import folders, walked
from metaft.errors import DataError
from metaft.texts import read_text

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

SOLUTION, TRUTH = "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt"
KITS = ("", "ILSVRC2012_devkit_t12/data", "devkit_t12/data", "devkit/data", "data")  # where the ground truth may lie
ABOVE = 4  # folders between Kaggle's table and its images


def validation(name: str, place: Path, classes: Sequence[str]) -> Listed:
    """Lists the pictures of a folder with class folders, or without.

    Raises:
        DataError: there are no class folders, and no labels beside; or these lack a picture, or are of other classes.
    """
    from metaft.data.pictures import Listed, sorted_out

    if folders(place):
        return Tree()(name, place, classes)
    found, (table, of_image) = sorted_out(walked(place)), _labels(name, place)
    numbers, labels = {wnid: label for label, wnid in enumerate(classes)}, []
    for file in found.paths:
        wnid = of_image.get(file.stem)
        if wnid not in numbers:
            said = f"no class of {file.name}" if wnid is None else f"{file.name} of {wnid}, which is no class"
            raise DataError(f"{name}: {table}: {said}; allowed: one of ImageNet's for each picture in {place}")
        labels.append(numbers[wnid])
    if not labels:
        raise DataError(
            f"{name}: {place}: no pictures; allowed: those of ILSVRC2012_img_val.tar, in class folders or not"
        )
    return Listed(name, place, found.files, labels, found.left_out)


def _labels(name: str, place: Path) -> tuple[Path, Mapping[str, str]]:
    """The file that says the classes of pictures beside or above their folder, and each one's by its name's stem."""
    for folder in (place, *place.parents[:ABOVE]):
        if (folder / SOLUTION).is_file():
            return folder / SOLUTION, _of_kaggle(folder / SOLUTION)
        for kit in KITS:
            if (folder / kit / TRUTH).is_file():
                return folder / kit / TRUTH, _of_kit(name, folder / kit / TRUTH)
    beside = f"{SOLUTION}, or {TRUTH} with meta.mat, beside it or above"
    raise DataError(
        f"{name}: {place}: no class folders, and no labels of pictures; allowed: class folders, or {beside}"
    )


def _of_kaggle(path: Path) -> dict[str, str]:
    """By image the class of its first box; all of an image's boxes are of one class."""
    lines = read_table(path, ("ImageId", "PredictionString"))
    return {line.cells["ImageId"]: line.cells["PredictionString"].partition(" ")[0] for line in lines}


def _of_kit(name: str, path: Path) -> dict[str, str]:
    """By image its class: the n-th line has the kit's number of the class of the n-th image."""
    wnids = contents(name, path.with_name("meta.mat"), _synsets)
    text: str = contents(name, path, read_text)
    numbers = re.findall(r"\S+", text)
    return {f"ILSVRC2012_val_{image:08d}": wnids.get(number, number) for image, number in enumerate(numbers, 1)}


def _synsets(path: Path) -> dict[str, str]:
    """Each synset's WordNet id by its number."""
    return {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in matlab(path)["synsets"]}
