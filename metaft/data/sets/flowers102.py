"""flowers102: Oxford's 102 flowers.

The root holds flowers-102/{imagelabels.mat, setid.mat, jpg/} as torchvision unpacks it, or the same splits as
flowers102/{train, val, test}/class_name/ as FLYP and AutoFT link them. There is no shifted part: half of the validation
images judge.

Source: Nilsback and Zisserman, Automated flower classification over a large number of classes, ICVGIP 2008;
facts/flowers102.tsv has the class names of CLIP (Radford et al., ICML 2021) in the order of the labels, and the
template and the metric are its own. AutoFT (arXiv 2401.10220) judges by 400 images and reports accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from metaft.data.sets.arrays import contents, matlab
from metaft.data.sets.entry import Entry, Home, Known, Part, Place, Reader, SetOptions
from metaft.data.sets.trees import Tree
from metaft.data.table import read_table

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

FACTS = Path(__file__).parent / "facts" / "flowers102.tsv"
HOME = Home("none stated", "https://www.robots.ox.ac.uk/~vgg/data/flowers/102")


class Options(SetOptions):
    """Settings of `data.format: flowers102`, under `data.options`."""

    ood_val: int | None = Field(400, ge=1)


def _split(key: str) -> Reader:
    """Lists the images of a split, by their numbers from 1; labels begin with 1 as well."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        from metaft.data.pictures import Listed

        numbers: list[int] = contents(name, place, lambda path: matlab(path)[key].tolist())
        labels = contents(name, place.with_name("imagelabels.mat"), lambda path: matlab(path)["labels"].tolist())
        of_image = dict(enumerate(labels, 1))
        files = [place.parent / "jpg" / f"image_{number:05d}.jpg" for number in numbers]
        return Listed(name, place, files, [of_image.get(number, 0) - 1 for number in numbers])

    return read


def _known(root: Path, options: Options) -> Known:
    names = tuple(line.cells["name"] for line in read_table(FACTS, ("name",)))
    return Known(names, names)


def _by_name(classes: Sequence[str]) -> dict[str, int]:
    """The labels of folders that are named by classes; in their own order they have others."""
    return {name.replace(" ", "_"): label for label, name in enumerate(classes)}


def _part(images: int, key: str, folder: str) -> Part:
    linked = Place(f"flowers102/{folder}", Tree(labels=_by_name, whole=True))
    return Part((Place("flowers-102/setid.mat", _split(key)), linked), images, HOME)


def _parts(options: Options) -> dict[str, Part]:
    return {
        "id_train": _part(1_020, "trnid", "train"),
        "id_val": _part(1_020, "valid", "val"),
        "id_test": _part(6_149, "tstid", "test"),
    }


ENTRY = Entry(classes=_known, templates=("a photo of a {}, a type of flower.",), metric="mean_per_class", parts=_parts)
