"""imagenet: ImageNet-1k, and as other distributions ImageNet-V2, -R, -A, -Sketch, ObjectNet and ImageNet-C.

The root holds imagenet/{train, val_in_folder or val}/WNID/ as WiSE-FT has it, or imagenet/images/ as CoOp has it, or
ILSVRC2012/, or ILSVRC/ as Kaggle unpacks it, itself or in ImageNet/, and beside it the other parts under the names of
their archives, or in the folders that CoOp has for them; val may be without class folders where its labels lie beside
it (see `metaft.data.sets.ilsvrc`). Only 200 classes are answers in -A and -R, and only the 113 objects of ObjectNet
that ImageNet has, each with the best of its classes; there the frame of two pixels is cut off. Pictures of -C are
corrupted ones of id_test, so whoever trains on ood_val has seen some of that.

Source: Russakovsky et al., IJCV 2015; Recht et al., ICML 2019 (V2, matched frequency); Hendrycks et al., ICCV 2021 (R)
and CVPR 2021 (A); Wang et al., NeurIPS 2019 (Sketch); Barbu et al., NeurIPS 2019 (ObjectNet); Hendrycks and Dietterich,
ICLR 2019 (C). facts/imagenet.tsv has the class names of CLIP as open_clip has them, but for the second missile and the
first sunglasses, which are a projectile and a sunglass as in WordNet, since a name is of one class; and the classes of
-A, -R and ObjectNet as WiSE-FT (github.com/mlfoundations/wise-ft) lists them. AutoFT (arXiv 2401.10220) judges by -C,
severity 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from metaft.data.sets.entry import Entry, Home, Known, Layout, Names, Part, Place, SetOptions
from metaft.data.sets.ilsvrc import validation
from metaft.data.sets.trees import Tree, in_folders, numbered
from metaft.data.table import read_table

FACTS = Path(__file__).parent / "facts" / "imagenet.tsv"
NONE = "-"
CORRUPTIONS = (
    *("brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_noise", "glass_blur"),
    *("impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "shot_noise", "snow", "zoom_blur"),
)
ILSVRC = Home("research only, after registration", "https://image-net.org/download.php")


class Options(SetOptions):
    """Settings of `data.format: imagenet`, under `data.options`; `severity`, 1 to 5, is that of imagenet_c."""

    ood_val_from: Names = ("imagenet_c",)
    ood_val: int | None = Field(1000, ge=1)
    severity: int = Field(5, ge=1, le=5)


def _column(name: str) -> list[str]:
    """What the table of classes says of each, in the order of labels."""
    return [line.cells[name] for line in read_table(FACTS, (name,))]


def _known(root: Path) -> Known:
    return Known(tuple(_column("name")), tuple(_column("wnid")))


def _subset(letter: str) -> list[int]:
    """Answers among the classes of ImageNet-A or -R."""
    return [label if letter in subsets.split() else -1 for label, subsets in enumerate(_column("subsets"))]


def labels_in_imagenet(names: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The labels of ImageNet-A's or -R's names among ImageNet's, all in the order of wnids; None: they are others.

    So a name that ImageNet has twice, as CLIP's lists have `missile`, is of the class whose wnid the part has.
    """
    if len(classes) != len(_column("wnid")):
        return None
    for letter in "ra":
        labels = [label for label in _subset(letter) if label >= 0]
        if [classes[label] for label in labels] == list(names):
            return labels
    return None


def _objects() -> dict[str, int]:
    """ObjectNet's folders that ImageNet has classes of, each with the first of these."""
    first: dict[str, int] = {}
    for label, folder in enumerate(_column("objectnet")):
        if folder != NONE:
            first.setdefault(folder, label)
    return first


def _as_objects() -> list[int]:
    """Answers by ObjectNet's folders."""
    first = _objects()
    return [first.get(folder, -1) for folder in _column("objectnet")]


def _labels_of_objects(classes: Sequence[str]) -> dict[str, int]:
    return _objects()


def _layout(home: str) -> Layout:
    train = Part((Place(f"{home}train", Tree(whole=True)),), 1_281_167, ILSVRC)
    val = Part(tuple(Place(home + val, validation) for val in ("val_in_folder", "val_dirs", "val")), 50_000, ILSVRC)
    return Layout(_known, {"id_train": train, "id_test": val})


KAGGLE = ("ImageNet/ILSVRC/Data/CLS-LOC/", "ILSVRC/Data/CLS-LOC/")
LAYOUTS = tuple(map(_layout, ("imagenet/", "imagenet/images/", "ILSVRC2012/", *KAGGLE, "")))


def _shifts(options: Options) -> dict[str, Part]:
    corrupted = in_folders(Tree(), [f"{what}/{options.severity}" for what in CORRUPTIONS])
    return {
        "imagenet_v2": Part(
            tuple(
                Place(path, Tree(labels=numbered))
                for path in (
                    "ImageNetV2-matched-frequency",
                    *(f"{home}imagenetv2-matched-frequency-format-val" for home in ("", "imagenetv2/")),
                )
            ),
            10_000,
            Home("MIT", "https://github.com/modestyachts/ImageNetV2"),
        ),
        "imagenet_r": Part(
            (Place("imagenet-r", Tree()), Place("imagenet-rendition/imagenet-r", Tree())),
            30_000,
            Home("MIT", "https://github.com/hendrycks/imagenet-r"),
            answers=lambda: _subset("r"),
        ),
        "imagenet_a": Part(
            (Place("imagenet-a", Tree()), Place("imagenet-adversarial/imagenet-a", Tree())),
            7_500,
            Home("MIT", "https://github.com/hendrycks/natural-adv-examples"),
            answers=lambda: _subset("a"),
        ),
        "imagenet_sketch": Part(
            tuple(Place(path, Tree()) for path in ("sketch", "imagenet-sketch/images", "imagenet-sketch")),
            50_889,
            Home("MIT", "https://github.com/HaohanWang/ImageNet-Sketch"),
        ),
        "objectnet": Part(
            (Place("objectnet-1.0/images", Tree(labels=_labels_of_objects, others=True)),),
            18_574,
            Home("CC-BY-4.0, never to train on, shown only with its frame", "https://objectnet.dev"),
            answers=_as_objects,
            border=2,
        ),
        "imagenet_c": Part(
            (Place("ImageNet-C", corrupted),),
            750_000,
            Home("CC-BY-4.0", "https://zenodo.org/records/2235448"),
            on_request=True,
        ),
    }


ENTRY = Entry(lambda options: LAYOUTS, templates="openai", metric="accuracy", shifts=_shifts, held_out=0.02)
