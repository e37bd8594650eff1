"""sst2: Rendered SST2, sentences of film reviews as pictures, positive or negative.

The root holds rendered-sst2/{train,valid,test} as torchvision unpacks it, or sst2/{train,val,test}, with a folder for
each class. There is no shifted part: half of the validation images judge.

Source: Radford et al., Learning transferable visual models from natural language supervision, ICML 2021, whose classes
and template these are. AutoFT (arXiv 2401.10220) takes k = 4, 16 or 32 training images of each class (data.shots) and
judges by as many.
"""

from __future__ import annotations

from pydantic import Field

from metaft.data.sets.entry import Entry, Home, Known, Layout, Part, Place, SetOptions
from metaft.data.sets.trees import Tree

NAMES = ("negative", "positive")
HOME = Home("none stated", "https://openaipublic.azureedge.net/clip/data/rendered-sst2.tgz")


class Options(SetOptions):
    """Settings of `data.format: sst2`, under `data.options`."""

    ood_val: int | None = Field(None, ge=1)


def _layout(folder: str, val: str) -> Layout:
    read = Tree(whole=True)
    parts = {
        "id_train": Part((Place(f"{folder}/train", read),), 6_920, HOME),
        "id_val": Part((Place(f"{folder}/{val}", read),), 872, HOME),
        "id_test": Part((Place(f"{folder}/test", read),), 1_821, HOME),
    }
    return Layout(lambda root: Known(NAMES, NAMES), parts)


LAYOUTS = (_layout("rendered-sst2", "valid"), _layout("sst2", "val"))
ENTRY = Entry(lambda options: LAYOUTS, templates=("a {} review of a movie.",), metric="accuracy")
