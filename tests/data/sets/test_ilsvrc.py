"""Validation images of ILSVRC in one folder, with what Kaggle or the development kit says of their classes."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import imagenet as torchvisions

from metaft.data.sets.ilsvrc import validation
from metaft.data.sets.imagenet import FACTS
from metaft.data.table import read_table
from metaft.errors import DataError
from tests.data.sets.miniatures import imagenet, picture
from tests.data.sets.readers import files, labels, load

WNIDS = [line.cells["wnid"] for line in read_table(FACTS, ("wnid",))]
# The first images and their classes, as Kaggle's table has them: sea snake, alp, Shetland sheepdog, soup bowl.
KNOWN = {1: ("n01751748", 65), 2: ("n09193705", 970), 3: ("n02105855", 230), 4: ("n04263257", 809)}


def flat(place: Path) -> Path:
    """The first four images without class folders, and what systems leave beside them."""
    for number in KNOWN:
        picture(place / f"ILSVRC2012_val_{number:08d}.JPEG", number)
    (place / ".DS_Store").write_bytes(b"x")
    return place


def solution(path: Path, known=KNOWN) -> Path:
    """Kaggle's table: in no order, an image's boxes one after the other, each with its class."""
    rows = [f"ILSVRC2012_val_{number:08d},{wnid} 1 2 30 40 {wnid} 5 6 70 80 \n" for number, (wnid, _) in known.items()]
    path.write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))
    return path


def kit(folder: Path) -> Path:
    """A development kit with numbers of its own for the classes, and one synset that has children and is no class."""
    folder.mkdir(parents=True)
    numbers = {wnid: 1 + (7 * label + 489) % 1000 for label, wnid in enumerate(WNIDS)}
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number, wnid, wnid, "-", 0) for wnid, number in sorted(numbers.items(), key=lambda pair: pair[1])]
    synsets = np.array([*rows, (1001, "n00001740", "entity", "-", 3)], dtype=fields)
    savemat(folder / "meta.mat", {"synsets": synsets[:, None]})
    truth = "".join(f"{numbers[wnid]}\n" for wnid, _ in KNOWN.values())
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return folder


def test_kaggles_folder_as_it_is_unpacked(tmp_path):
    made = imagenet(tmp_path / "made")
    root = tmp_path / "root"
    place = flat(root / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    (made / "imagenet" / "train").rename(place.parent / "train")
    (made / "ImageNet-C").rename(root / "ImageNet-C")
    solution(root / "LOC_val_solution.csv")
    split = load("imagenet", root, tests=()).tests["id_test"]
    assert [Path(file).name for file in files(split)] == [f"ILSVRC2012_val_{number:08d}.JPEG" for number in KNOWN]
    assert labels(split) == [label for _, label in KNOWN.values()]


@pytest.mark.parametrize("inner", ["", "ILSVRC2012_devkit_t12/data"])
def test_the_development_kits_numbers_are_torchvisions(tmp_path, monkeypatch, inner):
    place = flat(tmp_path / "ILSVRC2012" / "val")
    folder = kit(tmp_path / "kit" / "ILSVRC2012_devkit_t12" / "data")
    if inner:
        (tmp_path / "kit" / "ILSVRC2012_devkit_t12").rename(place.parent / "ILSVRC2012_devkit_t12")
        folder = place.parent / inner
    else:
        for file in folder.iterdir():
            file.rename(place.parent / file.name)
        folder = place.parent
    listed = validation("id_test", place, WNIDS)
    assert listed.labels == [label for _, label in KNOWN.values()]
    assert listed.left_out == {"hidden": 1}
    archive = tmp_path / "kit.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"):
            tar.add(folder / name, f"ILSVRC2012_devkit_t12/data/{name}")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvisions.ARCHIVE_META, "devkit", (archive.name, md5))
    torchvisions.parse_devkit_archive(tmp_path)
    _, theirs = torch.load(tmp_path / torchvisions.META_FILE, weights_only=True)
    assert [WNIDS[label] for label in listed.labels] == theirs


def test_class_folders_are_read_as_they_are(tmp_path):
    picture(tmp_path / "val" / WNIDS[7] / "ILSVRC2012_val_00000001.JPEG", 1)
    solution(tmp_path / "LOC_val_solution.csv")
    assert validation("id_test", tmp_path / "val", WNIDS).labels == [7]


def test_faults_are_named(tmp_path):
    place = flat(tmp_path / "a" / "b" / "c" / "val")

    def refused(*words: str) -> None:
        with pytest.raises(DataError) as caught:
            validation("id_test", place, WNIDS)
        assert all(word in str(caught.value) for word in words), str(caught.value)

    refused("val: no class folders, and no labels of pictures", "LOC_val_solution.csv, or ILSVRC2012_validation_ground")
    table = solution(tmp_path / "a" / "LOC_val_solution.csv", {1: KNOWN[1], 2: KNOWN[2], 3: KNOWN[3]})
    refused(str(table), "no class of ILSVRC2012_val_00000004.JPEG")
    solution(table, {**KNOWN, 2: ("n00000001", 0)})
    refused("ILSVRC2012_val_00000002.JPEG of n00000001, which is no class")
    table.write_text("id,class\n1,2\n")
    refused("no column 'ImageId'")
    table.unlink()
    (place.parent / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n361\n")
    refused("meta.mat: cannot be read")
    for file in place.glob("*.JPEG"):
        file.unlink()
    solution(table)
    table.rename(place.parent / table.name)
    refused("no pictures; allowed: those of ILSVRC2012_img_val.tar")
