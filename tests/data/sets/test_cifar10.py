"""CIFAR-10 and its kin in miniature copies of their layouts, beside torchvision's readers."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.sets.cifar10 import CORRUPTIONS, NAMES
from metaft.errors import DataError
from tests.data.sets.miniatures import cifar10, cifar10_2, pictures
from tests.data.sets.readers import files, labels, load, pixels, same_as


@pytest.fixture
def root(tmp_path) -> Path:
    return cifar10(tmp_path)


def torchvisions(root: Path, monkeypatch, train: bool):
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    return torchvision.datasets.CIFAR10(root, train=train)


def test_every_part_is_read(root):
    splits = load("cifar10", root)
    assert splits.classes.names == NAMES
    assert set(splits.tests) == {"id_test", *(f"ood_test/{n}" for n in ("cifar10_1", "cifar10_2", "stl10", "cinic10"))}
    assert {name: len(split) for name, split in splits.parts.items()} == {
        **{"id_train": 90, "id_val": 10, "ood_val": 20, "id_test": 20},
        **{"ood_test/cifar10_1": 12, "ood_test/cifar10_2": 10, "ood_test/stl10": 18, "ood_test/cinic10": 10},
    }


def test_pictures_and_labels_are_torchvisions(root, monkeypatch):
    splits = load("cifar10", root)
    same_as(splits.tests["id_test"], torchvisions(root, monkeypatch, train=False))
    train = torchvisions(root, monkeypatch, train=True)
    found = torch.cat([pixels(splits.id_train), pixels(splits.id_val)]).flatten(1)
    assert sorted(map(tuple, found.tolist())) == sorted(tuple(p.transpose(2, 0, 1).ravel()) for p in train.data)


def test_a_block_of_rows_is_a_severity(root):
    for severity in (1, 5):
        split = load("cifar10", root, severity=severity, ood_val=None).ood_val
        found = pixels(split)
        assert found[:, 0, 0, 0].tolist() == [*range(severity * 10 - 10, severity * 10)] * 2
        assert labels(split) == [*range(9, -1, -1)] * 2
        domains = [split.domains.names[n] for n in split.domains.numbers]
        assert domains == ["brightness"] * 10 + ["fog"] * 10
        assert found[:, 1, 1, 1].tolist() == [CORRUPTIONS.index(domain) for domain in domains]
        assert split.groups.numbers[:10].tolist() == split.groups.numbers[10:].tolist(), "of the same ten pictures"


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_the_test_of_10_2_is_its_test(root, kind):
    for file in (root / "CIFAR-10.2").iterdir():
        file.unlink()
    cifar10_2(root, kind)
    split = load("cifar10", root).tests["ood_test/cifar10_2"]
    assert labels(split) == [3, 4, 5, 6, 7, 8, 9, 0, 1, 2], "the training file begins with 0"
    assert files(split)[1] == f"{root / 'CIFAR-10.2' / f'cifar102_test.{kind}'}, row 1"


def test_stl10_in_the_classes_that_both_have(root, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.stl10, "check_integrity", lambda *_: True)
    reference = torchvision.datasets.STL10(root, split="test")
    ours = {"airplane": 0, "car": 1, "bird": 2, "cat": 3, "deer": 4, "dog": 5, "horse": 7, "ship": 8, "truck": 9}
    kept = [(image, ours[name]) for image, label in reference if (name := reference.classes[label]) != "monkey"]
    split = load("cifar10", root).tests["ood_test/stl10"]
    same_as(split, kept)
    assert split.answers.tolist() == [0, 1, 2, 3, 4, 5, -1, 7, 8, 9]


def test_cinic10_without_the_pictures_of_cifar10(root):
    split = load("cifar10", root).tests["ood_test/cinic10"]
    assert [Path(file).name for file in files(split)] == [f"n0210{label}_7.png" for label in range(10)]


def test_options_choose_what_judges_and_what_tests(root, capsys):
    splits = load("cifar10", root, ood_val_from=["cifar10_1", "cinic10"], ood_val=10, balanced=True)
    assert splits.ood_val.counts(10) == [1] * 10
    assert splits.ood_val.domains.names == ("cifar10_1", "cinic10")
    assert set(splits.tests) == {"id_test", "ood_test/cifar10_2", "ood_test/stl10"}
    asked = load("cifar10", root, ood_val_from="cifar10_1", tests="cifar10_c")
    assert set(asked.tests) == {"id_test", "ood_test/cifar10_c"}, "a test of 190,000 pictures is to be asked for"
    halves = load("cifar10", root, ood_val_from="id_val", ood_val=None)
    assert len(halves.ood_val) + len(halves.id_val) == 10
    assert not {*files(halves.ood_val)} & {*files(halves.id_val)}


def test_few_shot(root):
    splits = load("cifar10", root, shots=3)
    assert splits.id_train.counts(10) == [3] * 10
    assert len(splits.id_val) == 10
    assert files(splits.id_train) == files(load("cifar10", root, shots=3).id_train)


def test_what_is_missing_is_told(root, capsys):
    for path in (root / "CIFAR-10.1").iterdir():
        path.unlink()
    (root / "CIFAR-10.1").rmdir()
    assert "ood_test/cifar10_1" not in load("cifar10", root).tests
    err = capsys.readouterr().err
    assert f"no OOD tests, as they are not in {root}: cifar10_1\n" in err
    assert "ood_test/cifar10_2: 10 of 2,000 published pictures" in err
    with pytest.raises(DataError, match=r"cifar10_1: no CIFAR-10.1/cifar10.1_v6_data.npy or .*github.com/modestyachts"):
        load("cifar10", root, tests="cifar10_1")


def test_a_clone_of_10_1_is_read(root):
    plain = load("cifar10", root).tests["ood_test/cifar10_1"]
    folder = root / "CIFAR-10.1" / "datasets"
    folder.mkdir()
    for path in list((root / "CIFAR-10.1").glob("*.npy")):
        path.rename(folder / path.name)
    cloned = load("cifar10", root).tests["ood_test/cifar10_1"]
    assert labels(cloned) == labels(plain)
    assert torch.equal(pixels(cloned), pixels(plain))


def test_a_set_that_loses_all_its_tests_is_refused_unless_none_is_asked_for(root):
    for name in ("CIFAR-10.1", "CIFAR-10.2", "stl10_binary", "CINIC-10"):
        (root / name).rename(root / f"no {name}")
    with pytest.raises(DataError) as caught:
        load("cifar10", root)
    assert str(caught.value) == (
        f"ood_test: none of cifar10_1, cifar10_2, stl10, cinic10 in {root}; "
        "allowed: at least one of them, or data.options.tests=[] for none"
    )
    assert set(load("cifar10", root, tests=()).tests) == {"id_test"}


def test_settings_are_checked_before_anything_is_opened():
    def faults(**options):
        found = registry.faults(DataConfig(format="cifar10", root=options.pop("root", "x"), options=options))
        return [(fault.field, fault.found, fault.nearest) for fault in found]

    assert faults() == []
    assert faults(root=None)[0][:2] == ("data.root", "nothing given")
    assert faults(ood_val_from="cifar10c") == [("data.options.ood_val_from", "unknown name 'cifar10c'", "cifar10_c")]
    assert faults(ood_val_from="stl10")[0][0] == "data.options.ood_val_from", "it does not have all classes"
    assert faults(tests=["cifar10_1", "cifar100"])[0][:2] == ("data.options.tests", "unknown name 'cifar100'")
    assert faults(tests="cifar10_c") == [("data.options.tests", "cifar10_c, of which ood_val is", None)]
    assert faults(ood_val_from=[])[0][:2] == ("data.options.ood_val_from", "nothing given")
    assert faults(ood_val_from=["cifar10_c", "cifar10_c"])[0][0] == "data.options.ood_val_from"
    assert faults(severity=6)[0][:2] == ("data.options.severity", "6")
    assert faults(severty=5)[0] == ("data.options.severty", "unknown key", "severity")


def damaged(path: Path, content: bytes, root: Path) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load("cifar10", root)
    return str(caught.value)


class Command:
    def __reduce__(self):
        return os.system, ("touch harm",)


@pytest.mark.parametrize(
    "file",
    [
        *("cifar-10-batches-py/data_batch_2", "CIFAR-10.1/cifar10.1_v6_data.npy", "CIFAR-10.2/cifar102_test.npy"),
        *("CIFAR-10.1/cifar10.1_v6_labels.npy", "CIFAR-10-C/labels.npy", "stl10_binary/test_X.bin"),
    ],
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(root, file):
    (root / file).unlink()
    os.mkfifo(root / file)
    with pytest.raises(DataError, match=rf"{file}: cannot be read \(no regular file\)"):
        load("cifar10", root)


@pytest.mark.parametrize(
    ("part", "array", "words"),
    [
        ("data", np.full((12, 32, 32, 3), 0.5), "data.npy: pictures in numbers of the type float64; allowed: uint8"),
        ("data", np.full((12, 32, 32, 3), 128), "data.npy: pictures in numbers of the type int64; allowed: uint8"),
        (
            "data",
            np.zeros((12, 3, 32, 3), np.uint8),
            "an array of shape [12, 3, 32, 3]; allowed: pictures [N, S, S, 3]",
        ),
        ("labels", np.arange(12) % 10 + 0.5, "labels.npy: a label 0.5; allowed: whole numbers"),
        ("labels", np.full(12, np.nan), "labels.npy: a label nan; allowed: whole numbers"),
        ("labels", np.full(12, "cat"), "labels.npy: a label cat; allowed: whole numbers"),
    ],
)
def test_arrays_of_other_types_and_shapes_are_refused(root, part, array, words):
    np.save(root / "CIFAR-10.1" / f"cifar10.1_v6_{part}.npy", array)
    with pytest.raises(DataError) as caught:
        load("cifar10", root)
    assert words in str(caught.value)


def test_leftovers_are_no_batches(root):
    batches = root / "cifar-10-batches-py"
    before = len(load("cifar10", root).id_train)
    for name in ("data_batch_1.bak", "data_batch_2 (1)", "data_batch_1.sha256"):
        shutil.copy(batches / "data_batch_1", batches / name)
    assert len(load("cifar10", root).id_train) == before


def test_damage_is_told_and_no_pickle_runs(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batch = root / "cifar-10-batches-py" / "data_batch_2"
    whole = batch.read_bytes()
    assert "names posix.system, which is no array" in damaged(batch, pickle.dumps({"labels": Command()}), root)
    assert not (tmp_path / "harm").exists()
    assert "data_batch_2: cannot be read ('labels')" in damaged(batch, pickle.dumps({"fine_labels": []}), root)
    assert "data_batch_2: cannot be read" in damaged(batch, whole[: len(whole) // 2], root)
    batch.write_bytes(whole)
    short = root / "CIFAR-10-C" / "labels.npy"
    of_all = short.read_bytes()
    np.save(short, np.arange(10, dtype=np.uint8))
    assert "brightness.npy: 50 pictures and 10 labels" in damaged(short, short.read_bytes(), root), "of one severity"
    short.write_bytes(of_all)
    table = root / "CIFAR-10.2" / "cifar102_test.npy"
    np.save(table, {"images": pictures(3), "labels": np.array([0, 1])}, allow_pickle=True)
    assert "3 pictures and 2 labels; allowed: as many" in damaged(table, table.read_bytes(), root)
    np.save(table, {"images": pictures(2), "labels": np.array([0, 10])}, allow_pickle=True)
    assert "a label 10; allowed: 0 to 9" in damaged(table, table.read_bytes(), root)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_folder_that_is_not_whole(root, name):
    """Half unpacked, it was trained on as if it were the set."""
    (root / "cifar-10-batches-py" / name).unlink()
    with pytest.raises(DataError, match=rf"cifar-10-batches-py: no {name} there; allowed: the folder as it is given"):
        load("cifar10", root)


@pytest.mark.parametrize("label", [0, 11])
def test_a_label_that_stl10_does_not_have(root, label):
    (root / "stl10_binary/test_y.bin").write_bytes(bytes([label] * 20))
    with pytest.raises(DataError, match=rf"test_y.bin: a label {label}; allowed: 1 to 10"):
        load("cifar10", root)


@pytest.mark.parametrize("bad", [np.array([str(i % 10) for i in range(12)]), np.arange(12)[:, None] % 10, np.array(3)])
@pytest.mark.parametrize("file", ["CIFAR-10.1/cifar10.1_v6_labels.npy", "CIFAR-10-C/labels.npy"])
def test_labels_that_are_none_name_their_own_file(root, file, bad):
    np.save(root / file, bad)
    with pytest.raises(DataError, match=f": {root / file}: (a label .*; allowed: whole numbers|cannot be read)"):
        load("cifar10", root)
