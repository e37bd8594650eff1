"""Where sets may lie in several ways: folders as FLYP and AutoFT have them, and that no run mixes two ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision
from scipy.io import loadmat, savemat
from sklearn.model_selection import train_test_split

from metaft.data.sets import caltech101
from metaft.data.sets.cars import LAYOUTS as OF_CARS
from metaft.data.table import read_table
from metaft.errors import DataError
from tests.data.sets.miniatures import MAKERS, picture
from tests.data.sets.readers import files, labels, load, same_as


def linked_cars(root: Path) -> Path:
    """The miniature of Stanford Cars as FLYP's script links it: class folders with underscores, and - for /."""
    MAKERS["cars"](root)
    home = (root / "stanford_cars").rename(root / "StanfordCars")
    names = [str(cell[0]) for cell in loadmat(home / "devkit" / "cars_meta.mat")["class_names"][0]]
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = [(str(row["fname"][0]), int(row["class"][0, 0])) for row in loadmat(home / file)["annotations"][0]]
        parts = {"test": rows} if part == "test" else dict(zip(("train", "val"), deal(rows), strict=True))
        for split, own in parts.items():
            for name in names:
                (home / split / folder_of(name)).mkdir(parents=True)
            for image, number in own:
                link = home / split / folder_of(names[number - 1]) / image
                link.symlink_to(home / f"cars_{part}" / image)
    return home


def folder_of(name: str) -> str:
    return name.replace(" ", "_").replace("/", "-")


def deal(rows: list) -> list:
    """As FLYP's script deals the images to train on."""
    return train_test_split(rows, test_size=0.2, random_state=10)


def test_cars_as_flyp_links_them(tmp_path):
    """Folders in the order of names, where Integra comes before RL; classes in the order of the development kit."""
    home = linked_cars(tmp_path)
    splits = load("cars", tmp_path)
    numbers = {
        f"{part}/{row['fname'][0]}": int(row["class"][0, 0]) - 1
        for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat"))
        for row in loadmat(home / file)["annotations"][0]
    }
    for split, part in ((splits.id_train, "train"), (splits.tests["id_test"], "test")):
        paths = sorted((home / part).glob("*/*.jpg"))
        assert list(map(Path, files(split))) == paths
        assert labels(split) == [numbers[f"{part}/{path.name}"] for path in paths]
    assert [len(split) for split in (splits.id_train, splits.id_val, splits.ood_val)] == [48, 6, 6]
    halves = [*zip(files(splits.id_val), labels(splits.id_val), strict=True)]
    of_folder = {Path(file).parent.name: label for file, label in halves}
    assert of_folder["Acura_Integra_Type_R_2001"] == 1
    assert of_folder["Ram_C-V_Cargo_Van_Minivan_2012"] == 2
    assert splits.classes.names[2] == "Ram C/V Cargo Van Minivan 2012"


def test_cars_as_autoft_has_them(tmp_path, capsys):
    """Names in cars_annos.mat, and the halves of the validation images in a file among the class folders."""
    home = linked_cars(tmp_path / "flyp")
    flyp = load("cars", tmp_path / "flyp")
    names = loadmat(home / "devkit" / "cars_meta.mat")["class_names"]
    (home / "devkit" / "cars_meta.mat").unlink()
    ours = tmp_path / "autoft" / "stanford-cars"
    ours.mkdir(parents=True)
    for part in ("train", "val", "test"):
        (home / part).rename(ours / part)
    np.save(ours / "val" / "val_split_indices.npy", np.arange(4))
    with pytest.raises(DataError, match=r"no stanford-cars/devkit/cars_meta.mat or stanford-cars/cars_annos.mat there"):
        load("cars", tmp_path / "autoft")
    savemat(ours / "cars_annos.mat", {"class_names": names})
    splits = load("cars", tmp_path / "autoft")
    assert [labels(split) for split in splits.parts.values()] == [labels(split) for split in flyp.parts.values()]
    assert splits.classes == flyp.classes
    assert "id_val: 6 pictures; left out: 1 in no class folder" in capsys.readouterr().err


def test_as_many_as_the_script_deals():
    train, val = deal(list(range(8_144)))
    parts = OF_CARS[1].parts
    assert (parts["id_train"].images, parts["id_val"].images) == (len(train), len(val)) == (6_515, 1_629)


def test_caltech101_as_flyp_has_it(tmp_path, capsys):
    """Class folders in the order of their letters, capitals first, as for ImageFolder; backgrounds are no class."""
    home = tmp_path / "caltech-101"
    for label, line in enumerate(read_table(caltech101.FACTS, ("folder",))):
        for part, count in (("train", 2), ("val", 2), ("test", 1)):
            for i in range(count):
                picture(home / part / line.cells["folder"] / f"image_{i:04d}.jpg", label * 10 + i + len(part), 8)
    folders = {part: torchvision.datasets.ImageFolder(home / part) for part in ("train", "test")}
    for part in ("train", "val", "test"):
        picture(home / part / "BACKGROUND_Google" / "image_0001.jpg", 9, 8)
    picture(home / "101_ObjectCategories" / "Faces" / "image_0001.jpg", 9, 8)
    splits = load("caltech101", tmp_path)
    same_as(splits.id_train, folders["train"])
    same_as(splits.tests["id_test"], folders["test"])
    assert list(splits.classes.folders) == folders["train"].classes
    assert (splits.classes.folders[5], splits.classes.names[5]) == ("airplanes", "airplane")
    assert {Path(file).parents[1].name for split in (splits.id_val, splits.ood_val) for file in files(split)} == {"val"}
    told = capsys.readouterr().err
    assert "id_train: 202 pictures; left out: 1 of other classes" in told
    assert "published" not in told


def test_a_whole_layout_goes_before_one_in_part(tmp_path):
    MAKERS["sst2"](tmp_path)
    whole = tmp_path / "sst2"
    (tmp_path / "rendered-sst2").rename(whole)
    (whole / "valid").rename(whole / "val")
    (tmp_path / "rendered-sst2").mkdir()
    for part in ("train", "test"):
        (tmp_path / "rendered-sst2" / part).symlink_to(whole / part)
    splits = load("sst2", tmp_path)
    assert {Path(file).parents[2] for split in splits.parts.values() for file in files(split)} == {whole}


def test_parts_of_two_layouts_are_never_mixed(tmp_path):
    MAKERS["sst2"](tmp_path)
    (tmp_path / "sst2").mkdir()
    (tmp_path / "rendered-sst2" / "test").rename(tmp_path / "sst2" / "test")
    with pytest.raises(DataError, match=r"id_test: no rendered-sst2/test in .*; allowed: what is given away at https"):
        load("sst2", tmp_path)


def test_of_no_layout_there_all_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        load("cars", tmp_path)
    assert str(caught.value) == (
        "id_train: no stanford_cars/split_zhou_StanfordCars.json or StanfordCars/train or stanford-cars/train or "
        "stanford_cars/devkit/cars_train_annos.mat or StanfordCars/devkit/cars_train_annos.mat or "
        f"stanford-cars/devkit/cars_train_annos.mat in {tmp_path}; allowed: what is given away at "
        "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md or "
        "https://github.com/pytorch/vision/issues/7545, the first page being gone, unpacked"
    )
