"""sst2: Rendered SST2, sentences of film reviews as pictures, positive or negative.

The root holds rendered-sst2/{train,valid,test} as torchvision unpacks it, or sst2/{train,val,test}, with a folder for
each class. There is no shifted part: half of the validation images judge.

Source: Radford et al., Learning transferable visual models from natural language supervision, ICML 2021, whose classes
and template these are. AutoFT (arXiv 2401.10220) takes k = 4, 16 or 32 training images of each class (data.shots) and
judges by as many.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from metaft.data.sets.entry import Entry, Home, Known, Part, Place, SetOptions
from metaft.data.sets.trees import Tree

NAMES = ("negative", "positive")
HOME = Home("none stated", "https://openaipublic.azureedge.net/clip/data/rendered-sst2.tgz")


class Options(SetOptions):
    """Settings of `data.format: sst2`, under `data.options`."""

    ood_val: int | None = Field(None, ge=1)


def _known(root: Path, options: Options) -> Known:
    return Known(NAMES, NAMES)


def _part(images: int, *folders: str) -> Part:
    return Part(tuple(Place(folder, Tree(whole=True)) for folder in folders), images, HOME)


def _parts(options: Options) -> dict[str, Part]:
    return {
        "id_train": _part(6_920, "rendered-sst2/train", "sst2/train"),
        "id_val": _part(872, "rendered-sst2/valid", "sst2/val"),
        "id_test": _part(1_821, "rendered-sst2/test", "sst2/test"),
    }


ENTRY = Entry(classes=_known, templates=("a {} review of a movie.",), metric="accuracy", parts=_parts)
