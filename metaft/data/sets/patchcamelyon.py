"""patchcamelyon: PatchCamelyon, patches of lymph nodes with or without tumour.

The root holds pcam/camelyonpatch_level_2_split_*_{x,y}.h5 as they are given away, which h5py reads, or
patchcamelyon/{train,val,test} with two folders, that without tumour first by its name. There is no shifted part: half
of the validation images judge.

Source: Veeling et al., Rotation equivariant CNNs for digital pathology, MICCAI 2018; the classes and the template are
those of CLIP (Radford et al., ICML 2021). AutoFT (arXiv 2401.10220) takes k = 4, 16 or 32 training images of each class
(data.shots) and judges by as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from metaft.data.sets.arrays import Array, contents, listed
from metaft.data.sets.entry import Entry, Home, Known, Layout, Part, Place, Reader, SetOptions
from metaft.data.sets.trees import Tree
from metaft.data.tree import folders
from metaft.errors import DataError

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

NAMES = ("lymph node", "lymph node containing metastatic tumor tissue")
HOME = Home("CC0", "https://github.com/basveeling/pcam")


class Options(SetOptions):
    """Settings of `data.format: patchcamelyon`, under `data.options`."""

    ood_val: int | None = Field(None, ge=1)


def _h5(path: Path, key: str) -> Any:
    """An array of an HDF5 file, of which only what is asked for is read."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: needs the package h5py; allowed: pip install metaft[h5]") from error
    return h5py.File(path)[key]


def _images(path: Path) -> Any:
    return _h5(path, "x")


def _labels(path: Path) -> list[int]:
    labels: list[int] = _h5(path, "y")[:].ravel().tolist()
    return labels


def _from_h5(name: str, place: Path, classes: Sequence[str]) -> Listed:
    labels = place.with_name(place.name.replace("_x.h5", "_y.h5"))
    return listed(name, [(Array.at(place, _images), contents(name, labels, _labels))])


def _from_folders(name: str, place: Path, classes: Sequence[str]) -> Listed:
    """Labels are the folders' places in the order of their names, as for torchvision's ImageFolder."""
    inner = list(folders(place))
    if len(inner) != len(classes):
        raise DataError(f"{name}: {place}: {len(inner)} folders; allowed: {len(classes)}, one for each class")
    return Tree(labels=lambda _: {folder: label for label, folder in enumerate(inner)})(name, place, classes)


def _layout(path: str, val: str, read: Reader) -> Layout:
    """The layout with a path for each part, of which the name of the part is left open."""
    parts = {
        "id_train": Part((Place(path.format("train"), read),), 262_144, HOME),
        "id_val": Part((Place(path.format(val), read),), 32_768, HOME),
        "id_test": Part((Place(path.format("test"), read),), 32_768, HOME),
    }
    return Layout(lambda root: Known(NAMES, NAMES), parts)


LAYOUTS = (
    _layout("pcam/camelyonpatch_level_2_split_{}_x.h5", "valid", _from_h5),
    _layout("patchcamelyon/{}", "val", _from_folders),
)
ENTRY = Entry(lambda options: LAYOUTS, templates=("this is a photo of {}",), metric="accuracy")
