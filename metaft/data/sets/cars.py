"""cars: Stanford Cars, models with their years.

The root holds, in the order in which they are looked for, stanford_cars/{split_zhou_StanfordCars.json, cars_train/,
cars_test/} as CoOp has it, with its own split and class names, the year first (see `metaft.data.sets.coop`);
StanfordCars/{train, val, test}/CLASS/ as FLYP links it, or stanford-cars/ as AutoFT does, with the development kit or
cars_annos.mat beside them; or {devkit/, cars_train/, cars_test/, cars_test_annos_withlabels.mat} in one of these
folders, as torchvision has it in the first, where a fifth of each class of the training images is held out. There is no
shifted part: half of the validation images judge.

Source: Krause et al., 3D object representations for fine-grained categorization, 3dRR 2013; class names are those of
the development kit, the templates those of CLIP (Radford et al., ICML 2021). AutoFT (arXiv 2401.10220) judges by 200
images, and like FLYP (github.com/locuslab/FLYP, datacreation_scripts/stanfordCars.py) validates by a fifth of the
training images, drawn from all of them with scikit-learn's seed 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from metaft.data.sets import coop
from metaft.data.sets.arrays import contents, labels_of, matlab
from metaft.data.sets.entry import Entry, Home, Known, Layout, Part, Place, Reader, SetOptions, beside
from metaft.data.sets.trees import Tree
from metaft.data.stored import Files

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

HOME = Home("non-commercial research", "https://github.com/pytorch/vision/issues/7545, the first page being gone")
TEMPLATES = (
    *("a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "i love my {}!"),
    *(f"a photo of my {state} {{}}." for state in ("dirty", "clean", "new", "old")),
)


class Options(SetOptions):
    """Settings of `data.format: cars`, under `data.options`."""

    ood_val: int | None = Field(200, ge=1)


def _annotated(images: str) -> Reader:
    """Lists the images that a file of annotations names, which lie in a folder of the set; labels begin with 1."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        from metaft.data.pictures import Listed

        folder = (place.parent.parent if place.parent.name == "devkit" else place.parent) / images
        found = contents(name, place, _annotations)
        files = Files(folder / image for image, _ in found)
        return Listed(
            name, place, files, [label - 1 for label in labels_of(name, place, [label for _, label in found])]
        )

    return read


def _annotations(path: Path) -> list[tuple[str, object]]:
    return [(str(row["fname"]), np.asarray(row["class"]).item()) for row in matlab(path)["annotations"]]


def _names(path: Path) -> tuple[str, ...]:
    return tuple(str(name) for name in matlab(path)["class_names"])


def _known(root: Path, folder: str) -> Known:
    names = contents("classes", beside(root, f"{folder}/devkit/cars_meta.mat", f"{folder}/cars_annos.mat"), _names)
    return Known(names, names)


def _by_name(classes: Sequence[str]) -> dict[str, int]:
    """The labels of folders that are named by classes; in their own order they have others."""
    return {name.replace(" ", "_").replace("/", "-"): label for label, name in enumerate(classes)}


def _linked(folder: str) -> Layout:
    read = Tree(labels=_by_name, whole=True)
    parts = {
        "id_train": Part((Place(f"{folder}/train", read),), 6_515, HOME),
        "id_val": Part((Place(f"{folder}/val", read),), 1_629, HOME),
        "id_test": Part((Place(f"{folder}/test", read),), 8_041, HOME),
    }
    return Layout(lambda root: _known(root, folder), parts)


def _given_away(folder: str) -> Layout:
    train = Place(f"{folder}/devkit/cars_train_annos.mat", _annotated("cars_train"))
    test = Place(f"{folder}/cars_test_annos_withlabels.mat", _annotated("cars_test"))
    parts = {"id_train": Part((train,), 8_144, HOME), "id_test": Part((test,), 8_041, HOME)}
    return Layout(lambda root: _known(root, folder), parts)


LAYOUTS = (
    coop.layout("stanford_cars/split_zhou_StanfordCars.json", "", (6_509, 1_635, 8_041), HOME.licence),
    *map(_linked, ("StanfordCars", "stanford-cars")),
    *map(_given_away, ("stanford_cars", "StanfordCars", "stanford-cars")),
)
ENTRY = Entry(lambda options: LAYOUTS, templates=TEMPLATES, metric="accuracy", held_out=0.2)
