"""caltech101: Caltech-101.

The root holds, in the order in which they are looked for, caltech-101/{split_zhou_Caltech101.json,
101_ObjectCategories/} as CoOp has it, with its own split and 100 classes, one of two folders of faces left out (see
`metaft.data.sets.coop`); caltech-101/{train, val, test}/CLASS/ as FLYP and AutoFT have it, a split that their script
draws anew on each machine; or caltech101/101_ObjectCategories/ as torchvision unpacks it. That has no splits: 30 images
of each class, the same for every seed, are to train on and the others to test, as the set's authors do, and a fifth of
the 30 is held out. The folder of backgrounds, which are no class, is left out. There is no shifted part: half of the
validation images judge.

Source: Fei-Fei et al., Learning generative visual models from few training examples, CVPR workshop 2004;
facts/caltech101.tsv has the class folders as torchvision lists them, and their names in CLIP (Radford et al., ICML
2021), whose templates these are, and whose metric. AutoFT (arXiv 2401.10220) reports accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from metaft.data.sets import coop
from metaft.data.sets.entry import Entry, Home, Known, Layout, Part, Place, Reader, SetOptions
from metaft.data.sets.trees import Tree
from metaft.data.table import read_table

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

FACTS = Path(__file__).parent / "facts" / "caltech101.tsv"
HOME = Home("CC-BY-4.0", "https://data.caltech.edu/records/mzrjq-6wc02")
TRAIN = 30  # images of each class
FOLDERS = Tree(others=True, whole=True)
PLACES = ("caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories", "101_ObjectCategories")
KINDS = ("painting", "sculpture", "sketch", "tattoo", "rendition", "drawing", "doodle")
TEMPLATES = tuple(
    template
    for a in ("a", "the")
    for template in (
        f"a photo of {a} {{}}.",
        *(f"a {kind} of {a} {{}}." for kind in KINDS),
        *(f"{a} {kind} {{}}." for kind in ("plastic", "toy", "embroidered", "cartoon", "plushie", "origami")),
        f"{a} {{}} in a video game.",
        *(f"{kind} of {a} {{}}." for kind in ("art", "graffiti")),
    )
)


class Options(SetOptions):
    """Settings of `data.format: caltech101`, under `data.options`."""

    ood_val: int | None = Field(None, ge=1)


def _dealt(train: bool) -> Reader:
    """Lists the images to train on, or the others."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        from metaft.data.draws import few

        everything = FOLDERS(name, place, classes)
        chosen = few(everything.labels, TRAIN, seed=0)
        others = sorted({*range(len(everything.labels))} - {*chosen})
        return everything.subset(chosen if train else others)

    return read


def _known(root: Path) -> Known:
    lines = [line.cells for line in read_table(FACTS, ("folder", "name"))]
    return Known(tuple(cells["name"] for cells in lines), tuple(cells["folder"] for cells in lines))


def _pictures(train: bool, images: int) -> Part:
    return Part(tuple(Place(path, _dealt(train)) for path in PLACES), images, HOME)


def _folder(name: str) -> Part:
    return Part((Place(f"caltech-101/{name}", FOLDERS),), None, HOME)


LAYOUTS = (
    coop.layout("caltech-101/split_zhou_Caltech101.json", "101_ObjectCategories", (4_128, 1_649, 2_465), HOME.licence),
    Layout(_known, {"id_train": _folder("train"), "id_val": _folder("val"), "id_test": _folder("test")}),
    Layout(_known, {"id_train": _pictures(True, 3_030), "id_test": _pictures(False, 5_647)}),
)
ENTRY = Entry(lambda options: LAYOUTS, templates=TEMPLATES, metric="mean_per_class", held_out=0.2)
