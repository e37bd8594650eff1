"""cars: Stanford Cars, models with their years.

The root holds stanford_cars/{devkit/, cars_train/, cars_test/, cars_test_annos_withlabels.mat} as torchvision has it.
There are no validation images: a fifth of each class of the training images is held out, and half of it judges.

Source: Krause et al., 3D object representations for fine-grained categorization, 3dRR 2013; class names are those of
the development kit, the templates those of CLIP (Radford et al., ICML 2021). AutoFT (arXiv 2401.10220) judges by 200
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from metaft.data.sets.arrays import contents, matlab
from metaft.data.sets.entry import Entry, Home, Known, Part, Place, Reader, SetOptions, beside

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
        images_and_labels = contents(name, place, _annotations)
        files = [folder / image for image, _ in images_and_labels]
        return Listed(name, place, files, [label - 1 for _, label in images_and_labels])

    return read


def _annotations(path: Path) -> list[tuple[str, int]]:
    return [(str(row["fname"]), int(row["class"])) for row in matlab(path)["annotations"]]


def _names(path: Path) -> tuple[str, ...]:
    return tuple(str(name) for name in matlab(path)["class_names"])


def _known(root: Path, options: Options) -> Known:
    path = beside(root, "stanford_cars/devkit/cars_meta.mat")
    names = contents("classes", path, _names)
    return Known(names, names)


def _parts(options: Options) -> dict[str, Part]:
    train = Place("stanford_cars/devkit/cars_train_annos.mat", _annotated("cars_train"))
    test = Place("stanford_cars/cars_test_annos_withlabels.mat", _annotated("cars_test"))
    return {"id_train": Part((train,), 8_144, HOME), "id_test": Part((test,), 8_041, HOME)}


ENTRY = Entry(classes=_known, templates=TEMPLATES, metric="accuracy", parts=_parts, held_out=0.2)
