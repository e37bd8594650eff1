"""flowers102: Oxford's 102 flowers.

The root holds, in the order in which they are looked for, oxford_flowers/{split_zhou_OxfordFlowers.json, jpg/} as CoOp
has it, with its own split and class names (see `metaft.data.sets.coop`); flowers-102/{imagelabels.mat, setid.mat, jpg/}
as torchvision unpacks it; or the same split as flowers102/{train, val, test}/class_name/ as FLYP and AutoFT link it.
There is no shifted part: half of the validation images judge.

Source: Nilsback and Zisserman, Automated flower classification over a large number of classes, ICVGIP 2008;
facts/flowers102.tsv has the class names of CLIP (Radford et al., ICML 2021) in the order of the labels, and the
template and the metric are its own. AutoFT (arXiv 2401.10220) judges by 400 images and reports accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from metaft.data.sets import coop
from metaft.data.sets.arrays import contents, labels_of, matlab
from metaft.data.sets.entry import Entry, Home, Known, Layout, Part, Place, Reader, SetOptions
from metaft.data.sets.trees import Tree
from metaft.data.stored import Files
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

        table = place.with_name("imagelabels.mat")
        numbers = labels_of(name, place, contents(name, place, lambda path: matlab(path)[key].tolist()))
        labels = contents(name, table, lambda path: matlab(path)["labels"].tolist())
        of_image = dict(enumerate(labels_of(name, table, labels), 1))
        files = Files(place.parent / "jpg" / f"image_{number:05d}.jpg" for number in numbers)
        return Listed(name, place, files, [of_image.get(number, 0) - 1 for number in numbers])

    return read


def _known(root: Path) -> Known:
    names = tuple(line.cells["name"] for line in read_table(FACTS, ("name",)))
    return Known(names, names)


def _by_name(classes: Sequence[str]) -> dict[str, int]:
    """The labels of folders that are named by classes; in their own order they have others."""
    return {name.replace(" ", "_"): label for label, name in enumerate(classes)}


def _layout(train: Place, val: Place, test: Place) -> Layout:
    parts = {
        "id_train": Part((train,), 1_020, HOME),
        "id_val": Part((val,), 1_020, HOME),
        "id_test": Part((test,), 6_149, HOME),
    }
    return Layout(_known, parts)


LINKED = Tree(labels=_by_name, whole=True)
LAYOUTS = (
    coop.layout("oxford_flowers/split_zhou_OxfordFlowers.json", "jpg", (4_093, 1_633, 2_463), HOME.licence),
    _layout(*(Place("flowers-102/setid.mat", _split(key)) for key in ("trnid", "valid", "tstid"))),
    _layout(*(Place(f"flowers102/{folder}", LINKED) for folder in ("train", "val", "test"))),
)
ENTRY = Entry(lambda options: LAYOUTS, templates=("a photo of a {}, a type of flower.",), metric="mean_per_class")
