"""Sets as CoOp lays them out: its split, row by row beside a plain reader of its description, and its classes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from scipy.io import loadmat

from metaft.data.sets import caltech101, cars, flowers102
from metaft.data.table import read_table
from metaft.errors import DataError
from tests.data.sets.miniatures import MAKERS
from tests.data.sets.readers import files, labels, load

Rows = list[tuple[str, int, str]]
RENAMED = {"Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike", "airplanes": "airplane"}


def dealt(path: Path, rows: Rows) -> Path:
    """A file of a split: of each class in turn half of the pictures, a fifth, the rest; the last of a class first."""
    split = {"train": [], "val": [], "test": []}
    for label in sorted({row[1] for row in rows}):
        own = [row for row in rows if row[1] == label][::-1]
        train, val = round(len(own) * 0.5), round(len(own) * 0.2)
        split["train"] += own[:train]
        split["val"] += own[train : train + val]
        split["test"] += own[train + val :]
    path.write_text(json.dumps(split))
    return path


def of_caltech(root: Path) -> Path:
    """One of two folders of faces and the backgrounds are left out, four classes renamed; labels by the folders."""
    root = MAKERS["caltech101"](root)
    (root / "caltech101").rename(root / "caltech-101")
    pictures = root / "caltech-101" / "101_ObjectCategories"
    left = sorted({path.name for path in pictures.iterdir()} - {"BACKGROUND_Google", "Faces_easy"})
    rows = [
        (f"{folder}/{image.name}", label, RENAMED.get(folder, folder))
        for label, folder in enumerate(left)
        for image in sorted((pictures / folder).iterdir())[:6]
    ]
    return dealt(root / "caltech-101" / "split_zhou_Caltech101.json", rows)


def of_flowers(root: Path) -> Path:
    """All pictures are dealt anew; labels from 0, names of their own."""
    root = MAKERS["flowers102"](root)
    (root / "flowers-102").rename(root / "oxford_flowers")
    own = {15: "globe-flower", 59: "pink-yellow dahlia", 92: "ball moss"}
    names = [line.cells["name"] for line in read_table(flowers102.FACTS, ("name",))]
    numbers = loadmat(root / "oxford_flowers" / "imagelabels.mat")["labels"][0]
    rows = [(f"image_{i:05d}.jpg", int(n) - 1, own.get(int(n) - 1, names[n - 1])) for i, n in enumerate(numbers, 1)]
    return dealt(root / "oxford_flowers" / "split_zhou_OxfordFlowers.json", rows)


def of_cars(root: Path) -> Path:
    """The pictures to train on are dealt to train and val; the year is at the head of the name; paths with folders."""
    folder = MAKERS["cars"](root) / "stanford_cars"
    names = [str(cell[0]) for cell in loadmat(folder / "devkit" / "cars_meta.mat")["class_names"][0]]
    split = {}
    for part, place in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        annotations = loadmat(folder / place)["annotations"][0]
        numbers = [(str(row["fname"][0]), int(row["class"][0, 0]) - 1) for row in annotations]
        yeared = [" ".join([names[label].split(" ")[-1], *names[label].split(" ")[:-1]]) for _, label in numbers]
        pairs = zip(numbers, yeared, strict=True)
        split[part] = [(f"cars_{part}/{image}", label, name) for (image, label), name in pairs]
    split["val"], split["train"] = split["train"][::5], [row for i, row in enumerate(split["train"]) if i % 5]
    path = folder / "split_zhou_StanfordCars.json"
    path.write_text(json.dumps(split))
    return path


LAID_OUT = {"caltech101": of_caltech, "flowers102": of_flowers, "cars": of_cars}
PICTURES = {"caltech101": "101_ObjectCategories", "flowers102": "jpg", "cars": ""}
KNOWN = {  # class number, name in the file, name in captions
    "caltech101": (100, {0: ("face", "face"), 4: ("airplane", "airplane"), 18: ("car_side", "car side")}),
    "flowers102": (102, {15: ("globe-flower",) * 2, 76: ("passion flower",) * 2, 92: ("ball moss",) * 2}),
    "cars": (3, {1: ("2001 Acura Integra Type R",) * 2, 2: ("2012 Ram C/V Cargo Van Minivan",) * 2}),
}


@pytest.mark.parametrize("name", LAID_OUT)
def test_every_row_is_the_files(name, tmp_path):
    path = LAID_OUT[name](tmp_path)
    splits = load(name, tmp_path)
    split = json.loads(path.read_text())

    def rows(part: str) -> list[tuple[str, int]]:
        return [(str(path.parent / PICTURES[name] / image), label) for image, label, _ in split[part]]

    for ours, part in ((splits.id_train, "train"), (splits.tests["id_test"], "test")):
        assert list(zip(files(ours), labels(ours), strict=True)) == rows(part)
    halves = [pair for s in (splits.id_val, splits.ood_val) for pair in zip(files(s), labels(s), strict=True)]
    assert sorted(halves) == sorted(rows("val"))
    classes = sorted({(label, text) for part in split.values() for _, label, text in part})
    assert list(enumerate(splits.classes.folders)) == classes
    count, known = KNOWN[name]
    assert len(splits.classes.names) == count
    assert {n: (splits.classes.folders[n], splits.classes.names[n]) for n in known} == known


def test_names_in_another_form_in_the_file_and_on_disk(tmp_path):
    path = of_flowers(tmp_path)
    for image in (path.parent / "jpg").iterdir():
        image.rename(image.with_name(f"e\u0301-{image.name}"))
    split = json.loads(path.read_text())
    forms = ("caf\u00e9", "cafe\u0301")
    for part, rows in split.items():
        split[part] = [
            (f"\u00e9-{image}", label, forms[i % 2] if label == 3 else name)
            for i, (image, label, name) in enumerate(rows)
        ]
    path.write_text(json.dumps(split))
    splits = load("flowers102", tmp_path)
    assert splits.classes.names[3] == "caf\u00e9"
    assert all("/e\u0301-image_" in file for file in files(splits.id_train))


def pairs(splits) -> dict[str, int]:
    """The label of each file by its folder and name."""
    return {
        "/".join(Path(file).parts[-2:]): label
        for split in splits.parts.values()
        for file, label in zip(files(split), labels(split), strict=True)
    }


def test_its_numbers_of_flowers_are_the_sets_own(tmp_path):
    path = of_flowers(tmp_path)
    ours = pairs(load("flowers102", tmp_path))
    path.parent.rename(tmp_path / "flowers-102")
    own = pairs(load("flowers102", tmp_path))
    assert {*own.values()} == {*range(102)}
    assert own.items() <= ours.items(), "the miniature's own split leaves pictures out"


def test_its_numbers_of_cars_are_the_sets_own(tmp_path):
    path = of_cars(tmp_path)
    ours = pairs(load("cars", tmp_path))
    path.unlink()
    assert pairs(load("cars", tmp_path)) == ours
    assert ours["cars_train/00002.jpg"] == 2, "the third class, of which 00002.jpg is in the annotations"


def test_as_many_as_the_papers_table_has():
    """Table of Zhou et al.; the sums are those of the official splits where they deal the same pictures."""
    published = {
        caltech101: (4_128, 1_649, 2_465),
        flowers102: (4_093, 1_633, 2_463),
        cars: (6_509, 1_635, 8_041),
    }
    for module, counts in published.items():
        assert tuple(part.images for part in module.LAYOUTS[0].parts.values()) == counts
    assert sum(published[flowers102]) == sum(part.images for part in flowers102.LAYOUTS[1].parts.values()) == 8_189
    assert sum(published[cars][:2]) == cars.LAYOUTS[-1].parts["id_train"].images == 8_144


FEW = {"train": [["a.jpg", 0, "face"], ["b.jpg", 1, "leopard"]], "val": [["c.jpg", 1, "leopard"]]}
WHOLE = json.dumps({**FEW, "test": [["d.jpg", 2, "motorbike"]]})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"face"', '"leopard"', "a class 'leopard' with number 0; allowed: each number from 0 on for one name"),
        ('2, "motorbike"', '3, "motorbike"', "a class 'motorbike' with number 3; allowed: each number from 0 on"),
        ('2, "motorbike"', '1, "motorbike"', "a class 'motorbike' with number 1; allowed"),
        ('0, "face"', '"zero", "face"', "cannot be read (train.0.1: Input should be a valid integer"),
        ('"val"', '"valid"', "cannot be read (val: Field required); allowed: the file as it is given away"),
        ('[["d.jpg", 2, "motorbike"]]', "[]", "cannot be read (test: List should have at least 1 item"),
        ('{"train"', '"train"', "cannot be read (the file: Invalid JSON"),
    ],
)
def test_a_file_that_is_not_as_given_away(old, new, words, tmp_path):
    path = tmp_path / "caltech-101" / "split_zhou_Caltech101.json"
    path.parent.mkdir()
    path.write_text(WHOLE)
    assert caltech101.LAYOUTS[0].classes(tmp_path).names == ("face", "leopard", "motorbike")
    path.write_text(WHOLE.replace(old, new))
    with pytest.raises(DataError) as caught:
        load("caltech101", tmp_path)
    assert words in str(caught.value)


def test_pictures_that_are_not_there(tmp_path):
    path = of_cars(tmp_path)
    (path.parent / "cars_test").rename(path.parent / "elsewhere")
    with pytest.raises(DataError, match=r"id_test: 9 of 9 files are not there.*split_zhou_StanfordCars.json lists"):
        load("cars", tmp_path)


def test_what_lies_beside_it_is_not_read_but_told(tmp_path, capsys):
    path = of_cars(tmp_path)
    load("cars", tmp_path)
    told = capsys.readouterr().err
    kit = path.parent / "devkit" / "cars_train_annos.mat"
    assert f"the split is that of {path}, not that of {kit}\n" in told
    assert f"id_train: 48 of 6,509 published pictures in {path}" in told
    path.unlink()
    assert Counter(labels(load("cars", tmp_path).tests["id_test"])) == {0: 3, 1: 3, 2: 3}
    assert "the split is that of" not in capsys.readouterr().err
