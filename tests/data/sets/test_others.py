"""The other sets by name in miniature copies of their layouts, beside torchvision's readers."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torchvision
from scipy.io import savemat

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.sets import caltech101 as caltech
from metaft.data.sets import flowers102 as flowers
from metaft.data.sets.entry import Entry, Home, Known, Layout, Part, Place, SetOptions
from metaft.data.sets.trees import Tree
from metaft.data.table import read_table
from metaft.errors import DataError
from metaft.metrics import METRICS
from metaft.run import LISTS
from tests.data.sets.miniatures import DOMAINS, MAKERS, picture, pictures
from tests.data.sets.readers import files, labels, load, same_as


@pytest.fixture
def made(tmp_path, request) -> Path:
    """The root of the miniature that the test is named after."""
    return MAKERS[request.function.__name__.split("_")[1]](tmp_path)


def every(*splits) -> list[str]:
    """The files of splits, which have none in common."""
    found = [file for split in splits for file in files(split)]
    assert len(set(found)) == len(found)
    return found


def test_domainnet_whose_names_are_in_another_form_in_a_list_and_on_disk(made):
    home = made / "domainnet"
    for domain in DOMAINS:
        (home / domain / "zebra").rename(home / domain / "cafe\u0301")
        for number, part in enumerate(("train", "test")):
            form = ("caf\u00e9", "cafe\u0301")[(number + DOMAINS.index(domain)) % 2]
            text = (home / f"{domain}_{part}.txt").read_text()
            (home / f"{domain}_{part}.txt").write_text(text.replace("/zebra/", f"/{form}/"))
    splits = load("domainnet", made)
    assert "caf\u00e9" in splits.classes.names
    assert any("/cafe\u0301/" in file for file in files(splits.id_train))


def test_domainnet_by_its_lists(made):
    splits = load("domainnet", made)
    assert splits.classes.names[2] == "The Eiffel Tower", "labels are the lists', whatever the folders' order"
    assert set(splits.tests) == {"id_test", *(f"ood_test/{d}" for d in DOMAINS if d not in ("real", "painting"))}
    test = made / "domainnet" / "real_test.txt"
    rows = [line.rsplit(" ", 1) for line in test.read_text().splitlines()]
    assert files(splits.tests["id_test"]) == [str(made / "domainnet" / image) for image, _ in rows]
    assert labels(splits.tests["id_test"]) == [int(label) for _, label in rows]
    assert {Path(file).parent.parent.name for file in every(splits.id_train, splits.id_val)} == {"real"}
    assert all("painting_test" in file for file in files(splits.ood_val))
    other = load(
        "domainnet", made / "domainnet", id="sketch", ood_val_from=["real", "clipart"], ood_val=6, balanced=True
    )
    assert other.ood_val.domains.names == ("clipart", "real")
    assert set(other.tests) == {"id_test", "ood_test/infograph", "ood_test/painting", "ood_test/quickdraw"}


def test_domainnet_faults(made):
    (fault,) = registry.faults(DataConfig(format="domainnet", root=made, options={"id": "painting"}))
    assert (fault.field, fault.found) == ("data.options.ood_val_from", "unknown name 'painting'")
    path = made / "domainnet" / "sketch_test.txt"
    whole = path.read_text()
    for wrong, message in (
        (
            whole.replace("_0_0.png 0", "_0_0.png \u00b2"),
            "line 1: .*; allowed: a path with its class folder, and a label",
        ),
        (whole.replace("_0_0.png 0", "_0_0.png 3"), "line 1: .* with label 3; allowed: label 3 for 'zebra'"),
        (whole.replace("_0_0.png 0", "_0_0.png"), "line 1: '.*'; allowed: a path with its class folder, and a label"),
    ):
        path.write_text(wrong)
        with pytest.raises(DataError, match=message):
            load("domainnet", made)


@pytest.mark.parametrize(("start", "end"), [("\ufeff", ""), ("", "\n"), ("\ufeff", "\r\n \n")])
def test_domainnet_lists_as_editors_leave_them(made, start, end):
    before = load("domainnet", made)
    for path in made.glob("domainnet/*_t*.txt"):
        path.write_text(f"{start}{path.read_text()}{end}")
    after = load("domainnet", made)
    assert after.classes == before.classes
    assert {n: files(s) for n, s in after.parts.items()} == {n: files(s) for n, s in before.parts.items()}


@pytest.mark.parametrize("listed", ["domainnet/painting_test.txt", "domainnet/real_train.txt"])
def test_domainnet_waits_for_no_pipe(made, listed):
    (made / listed).unlink()
    os.mkfifo(made / listed)
    with pytest.raises(DataError, match=rf"{listed}: cannot be read \(no regular file\); allowed: the file as it is"):
        load("domainnet", made)


def test_sst2_is_torchvisions(made):
    splits = load("sst2", made)
    same_as(splits.id_train, torchvision.datasets.RenderedSST2(made, split="train"))
    same_as(splits.tests["id_test"], torchvision.datasets.RenderedSST2(made, split="test"))
    halves = every(splits.ood_val, splits.id_val)
    assert sorted(halves) == sorted(str(path) for path in (made / "rendered-sst2" / "valid").rglob("*.png"))
    assert splits.ood_val.counts(2) == splits.id_val.counts(2) == [3, 3]
    assert set(splits.tests) == {"id_test"}
    (made / "rendered-sst2").rename(made / "sst2")
    (made / "sst2" / "valid").rename(made / "sst2" / "val")
    assert len(load("sst2", made, shots=4, ood_val=2).id_train) == 8


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_sst2_without_pictures_of_a_class(made, part):
    place = made / "rendered-sst2" / part
    for file in (place / "positive").iterdir():
        file.write_text("no picture")
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(DataError, match=f"{place}: 1 of 2 class folders are without pictures, the first: positive"):
        load("sst2", made)


def test_sst2_with_a_class_inside_the_other(made):
    train = made / "rendered-sst2" / "train"
    shutil.copytree(train / "positive", train / "negative" / "positive")
    with pytest.raises(DataError, match=r"negative/positive: 'positive' is a class too, .* of the class 'negative'"):
        load("sst2", made)


def test_patchcamelyon_in_folders(made):
    splits = load("patchcamelyon", made)
    assert labels(splits.id_train) == [0] * 6 + [1] * 6
    assert splits.classes.names[1] == "lymph node containing metastatic tumor tissue"
    for split in ("train", "val", "test"):
        for old, new in (("0", "normal"), ("1", "tumor")):
            (made / "patchcamelyon" / split / old).rename(made / "patchcamelyon" / split / new)
    assert labels(load("patchcamelyon", made).id_train) == [0] * 6 + [1] * 6
    (made / "patchcamelyon" / "test" / "more").mkdir()
    with pytest.raises(DataError, match="3 folders; allowed: 2, one for each class"):
        load("patchcamelyon", made)


def test_patchcamelyon_in_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs the extra h5")
    (tmp_path / "pcam").mkdir()
    for split in ("train", "valid", "test"):
        start = str(tmp_path / "pcam" / f"camelyonpatch_level_2_split_{split}")
        with h5py.File(f"{start}_x.h5", "w") as images, h5py.File(f"{start}_y.h5", "w") as numbers:
            images["x"] = pictures(8, 96)
            numbers["y"] = (np.arange(8) // 3 % 2).astype(np.uint8).reshape(8, 1, 1, 1)
    splits = load("patchcamelyon", tmp_path)
    same_as(splits.id_train, torchvision.datasets.PCAM(tmp_path, split="train"))
    same_as(splits.tests["id_test"], torchvision.datasets.PCAM(tmp_path, split="test"))
    assert len(every(splits.ood_val, splits.id_val)) == 8


def test_flowers102_is_torchvisions(made, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.flowers102, "check_integrity", lambda *_: True)
    splits = load("flowers102", made)
    same_as(splits.id_train, torchvision.datasets.Flowers102(made, split="train"))
    same_as(splits.tests["id_test"], torchvision.datasets.Flowers102(made, split="test"))
    assert len(every(splits.ood_val, splits.id_val)) == len(torchvision.datasets.Flowers102(made, split="val"))
    names = [line.cells["name"] for line in read_table(flowers.FACTS, ("name",))]
    pairs = enumerate(zip(names, torchvision.datasets.Flowers102.classes, strict=True))
    assert {label: pair for label, pair in pairs if pair[0] != pair[1]} == {
        15: ("globe flower", "globe-flower"),
        59: ("pink and yellow dahlia", "pink-yellow dahlia?"),
        92: ("air plant", "ball moss"),
    }


def test_flowers102_as_flyp_and_autoft_link_it(made, tmp_path_factory):
    """Folders of class names, of which passion_flower is the 67th of the names and the 77th of the classes."""
    official = load("flowers102", made)
    root = tmp_path_factory.mktemp("linked")
    names = [line.cells["name"] for line in read_table(flowers.FACTS, ("name",))]
    parts = {"train": [official.id_train], "val": [official.id_val, official.ood_val]}
    for part, splits in {**parts, "test": [official.tests["id_test"]]}.items():
        folders = [root / "flowers102" / part / name.replace(" ", "_") for name in names]
        for folder in folders:
            folder.mkdir(parents=True)
        for split in splits:
            for file, label in zip(files(split), labels(split), strict=True):
                (folders[label] / Path(file).name).symlink_to(file)
    linked = load("flowers102", root)

    def of_file(splits) -> dict[str, dict[str, int]]:
        return {
            name: {Path(file).name: label for file, label in zip(files(split), labels(split), strict=True)}
            for name, split in (("train", splits.id_train), ("test", splits.tests["id_test"]))
        }

    assert of_file(linked) == of_file(official)
    assert len(every(linked.ood_val, linked.id_val)) == len(every(official.ood_val, official.id_val))
    passion = [
        Path(file) for file, label in zip(files(linked.id_train), labels(linked.id_train), strict=True) if label == 76
    ]
    assert {file.parent.name for file in passion} == {"passion_flower"}
    assert sorted(name.replace(" ", "_") for name in names).index("passion_flower") == 66
    shutil.rmtree(root / "flowers102" / "val" / "colt's_foot")
    with pytest.raises(DataError, match=r"id_val: .*1 of 102 class folders are not there, the first: colt's_foot"):
        load("flowers102", root)


def test_flowers102_faults(made):
    labels_of = made / "flowers-102" / "imagelabels.mat"
    savemat(labels_of, {"labels": np.ones((1, 5))})
    with pytest.raises(DataError, match=r"id_train: .*setid.mat: a label -1; allowed: 0 to 101"):
        load("flowers102", made)
    savemat(labels_of, {"labels": np.full((1, 8_189), 1.5)})
    with pytest.raises(DataError, match=r"id_train: .*imagelabels.mat: a label 1.5; allowed: whole numbers"):
        load("flowers102", made)
    labels_of.write_bytes(b"")
    with pytest.raises(DataError, match=r"id_train: .*imagelabels.mat: cannot be read"):
        load("flowers102", made)


def test_cars_faults(made):
    rows = np.array([(1.5, "00001.jpg")] * 2, [("class", object), ("fname", object)])
    savemat(made / "stanford_cars/devkit/cars_train_annos.mat", {"annotations": rows.reshape(1, -1)})
    with pytest.raises(DataError, match=r"id_train: .*cars_train_annos.mat: a label 1.5; allowed: whole numbers"):
        load("cars", made)


def test_cars_are_torchvisions(made):
    splits = load("cars", made)
    test = torchvision.datasets.StanfordCars(made, split="test")
    same_as(splits.tests["id_test"], test)
    assert splits.classes.names == tuple(test.classes)
    assert "Ram C/V Cargo Van Minivan 2012" in splits.classes.names
    held = every(splits.id_train, splits.id_val, splits.ood_val)
    assert sorted(held) == sorted(str(path) for path in (made / "stanford_cars" / "cars_train").iterdir())
    assert [len(split) for split in (splits.id_train, splits.id_val, splits.ood_val)] == [48, 6, 6]


def test_caltech101_is_torchvisions_without_its_splits(made):
    splits = load("caltech101", made)
    everything = torchvision.datasets.Caltech101(made)
    found = Counter()
    for split in (splits.id_train, splits.id_val, splits.ood_val, splits.tests["id_test"]):
        found += Counter(labels(split))
    assert found == Counter(everything.y)
    assert list(splits.classes.folders) == everything.categories
    assert splits.tests["id_test"].counts(101)[:3] == [2, 2, 0], "all but thirty of each class"
    again = load("caltech101", made, seed=1)
    assert files(again.tests["id_test"]) == files(splits.tests["id_test"])
    assert files(again.id_val) != files(splits.id_val)
    assert len(set(caltech.TEMPLATES)) == 34
    assert {"a embroidered {}.", "graffiti of the {}.", "the {} in a video game."} < set(caltech.TEMPLATES)


def test_every_set_declares_what_a_person_needs():
    named = {name: kind for name, kind in registry.FORMATS.items() if kind.entry is not None}
    assert set(named) == set(MAKERS), "each has a miniature, which goes through a whole run"
    for kind in named.values():
        assert kind.entry.target.metric in METRICS
        entry, options = kind.entry.target, kind.model()
        parts = [*entry.shifts(options).values(), *(p for way in entry.layouts(options) for p in way.parts.values())]
        for part in parts:
            assert part.home.address.startswith("https://")
            assert part.home.licence
            assert part.images is None or part.images > 0


def test_a_new_set_is_one_file_and_one_line(tmp_path, monkeypatch):
    places = {"id_train": "pets/train", "id_test": "pets/test", "drawings": "drawn"}
    home = Home("CC0", "https://example.org")
    parts = {name: Part((Place(path, Tree()),), 4, home) for name, path in places.items()}
    shifts = {"drawings": parts.pop("drawings")}

    names = ("cat", "dog")
    layout = Layout(lambda root: Known(names, names), parts)
    file = ModuleType("metaft.data.sets.pets")
    file.Options = SetOptions
    file.ENTRY = Entry(lambda _: [layout], ("{}.",), "accuracy", lambda _: shifts, held_out=0.5)
    monkeypatch.setitem(sys.modules, file.__name__, file)
    monkeypatch.setitem(registry.FORMATS, "pets", registry._named("pets", "cats and dogs"))
    folders = [f"{part}/{name}" for part in ("pets/train", "pets/test", "drawn") for name in names]
    for number, folder in enumerate(folders):
        for i in range(2):
            picture(tmp_path / folder / f"{i}.png", 2 * number + i)
    splits = load("pets", tmp_path, ood_val_from="drawings", ood_val=2, balanced=True)
    assert [len(split) for split in splits.parts.values()] == [2, 2, 2, 4]
    assert splits.ood_val.counts(2) == [1, 1]
    assert "cats and dogs" in LISTS["datasets"]()
