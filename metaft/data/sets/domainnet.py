"""domainnet: DomainNet, one of its six domains as ID and others as OOD, by the official lists.

The root holds domainnet/ with the lists, as real_train.txt and real_test.txt, and the domains' folders beside them, or
is that folder. Classes are those of the ID domain's list of training images, named by their folders.

Source: Peng et al., Moment Matching for Multi-Source Domain Adaptation, ICCV 2019, in the cleaned version. TPGM (Tian
et al., CVPR 2023) and FTP (NeurIPS 2023) take real as ID; no protocol names a domain to judge by, painting is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from unicodedata import normalize

from metaft.data.sets.arrays import contents
from metaft.data.sets.entry import Entry, Home, Known, Layout, Names, Part, Place, SetOptions
from metaft.data.stored import Files
from metaft.errors import DataError
from metaft.texts import read_text, whole

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

FOLDERS = ("domainnet/", "DomainNet/", "")
# Images in each domain's list of training images and of test images.
IMAGES = {
    "clipart": (33_525, 14_604),
    "infograph": (36_023, 15_582),
    "painting": (50_416, 21_850),
    "quickdraw": (120_750, 51_750),
    "real": (120_906, 52_041),
    "sketch": (48_212, 20_916),
}
HOME = Home("fair use, for research only", "https://ai.bu.edu/M3SDA")


class Options(SetOptions):
    """Settings of `data.format: domainnet`, under `data.options`; `id` is the ID domain, other parts are the others."""

    ood_val_from: Names = ("painting",)
    id: Literal["clipart", "infograph", "painting", "quickdraw", "real", "sketch"] = "real"


class Line(NamedTuple):
    """An image of a list: its path beside the list, and its label."""

    image: Path
    label: int

    @property
    def folder(self) -> str:
        """The name of its class's folder, composed (NFC)."""
        return normalize("NFC", self.image.parent.name)


def _lines(path: Path) -> list[Line]:
    """The images of a list, `domain/class/image.jpg label` in each line.

    Raises:
        DataError: a line of another form.
    """
    found = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        image, blank, label = line.strip().rpartition(" ")
        known = whole(label)
        if not (blank and known is not None and Path(image).parent.name):
            raise DataError(f"{path}, line {number}: {line!r}; allowed: a path with its class folder, and a label")
        found.append(Line(Path(image), known))
    return found


def _known(path: Path) -> Known:
    """The class folders of a list by their labels."""
    by_label = {line.label: line.folder for line in contents("classes", path, _lines)}
    if sorted(by_label) != list(range(len(by_label))):
        raise DataError(f"{path}: labels with gaps; allowed: images of each class, labelled from 0 on")
    folders = tuple(by_label[label] for label in range(len(by_label)))
    return Known(tuple(folder.replace("_", " ") for folder in folders), folders)


def _listed(name: str, place: Path, classes: Sequence[str]) -> Listed:
    """The images of a list; the labels of lists are those of the ID domain's.

    Raises:
        DataError: a label whose folder is another there.
    """
    from metaft.data.pictures import Listed

    lines = contents(name, place, _lines)
    for number, line in enumerate(lines, 1):
        own = classes[line.label] if line.label < len(classes) else None
        if line.folder != own:
            found = f"{line.image} with label {line.label}"
            raise DataError(f"{place}, line {number}: {found}; allowed: label {line.label} for {own!r}")
    files = Files(place.parent / line.image for line in lines)
    return Listed(name, place, files, [line.label for line in lines])


def _part(domain: str, lists: Literal["train", "test"], folders: Sequence[str]) -> Part:
    images = IMAGES[domain][lists == "test"]
    return Part(tuple(Place(f"{folder}{domain}_{lists}.txt", _listed) for folder in folders), images, HOME)


def _layout(domain: str, folder: str) -> Layout:
    train, test = _part(domain, "train", [folder]), _part(domain, "test", [folder])
    return Layout(lambda root: _known(root / train.places[0].path), {"id_train": train, "id_test": test})


def _layouts(options: Options) -> list[Layout]:
    return [_layout(options.id, folder) for folder in FOLDERS]


def _shifts(options: Options) -> dict[str, Part]:
    return {domain: _part(domain, "test", FOLDERS) for domain in IMAGES if domain != options.id}


ENTRY = Entry(_layouts, templates=("a photo of a {}.",), metric="accuracy", shifts=_shifts)
