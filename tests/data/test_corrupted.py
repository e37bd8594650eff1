"""Corrupted ID images as OOD validation: which images they are, what became of them, that none trains and judges."""

from __future__ import annotations

from dataclasses import replace
from shutil import copy, rmtree

import numpy as np
import pytest
import torch

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.corrupted import by_shares
from metaft.data.corruptions import settings
from metaft.data.corruptions.corrupt import corrupt
from metaft.data.corruptions.levels import NAMES
from metaft.data.duplicates import compared
from metaft.data.folds import folds
from metaft.data.types import origin
from metaft.errors import DataError
from tests.data.suites import load as suite
from tests.data.test_csv import load as load_csv
from tests.data.test_csv import table
from tests.data.test_duplicates import refused
from tests.data.test_folder import VIEW, fault
from tests.data.test_folder import load as folder
from tests.data.test_wilds import iwildcam

THREE = ("fog", "snow", "gaussian_noise")
FEW = {"corruptions": THREE, "corrupted": 8}


@pytest.fixture
def tree(picture_tree):
    """Pictures without OOD validation."""
    rmtree(picture_tree / "ood_val")
    return picture_tree


def files(split) -> list:
    """The file of each image."""
    return [source.files[number] for source, number in (origin(split.source, i) for i in range(len(split)))]


def whole(tree) -> list:
    return sorted((tree / "id_train").rglob("*.png"))


def test_images_held_out_of_id_train(tree, kept, capsys):
    splits = folder(tree, **FEW, severity=2, **kept)
    told = capsys.readouterr().err
    clean = splits.ood_val.source.clean
    held = held_files(splits)
    assert sorted([*held, *files(splits.id_train)]) == whole(tree), "each picture is in one of them"
    assert [path.parent.name == "light_square" for path in held] == splits.ood_val.labels.bool().tolist()
    assert (splits.ood_val.counts(2), splits.id_train.counts(2)) == ([4, 4], [6, 6])
    assert (splits.ood_val.name, splits.ood_val.domains.names) == ("ood_val", THREE)
    assert "ood_val: 8 images held out of id_train, corrupted (fog, snow, gaussian_noise; severity 2): a stand" in told
    for number, kind in enumerate(splits.ood_val.domains.numbers.tolist()):
        image = clean.pixels([number])[0].permute(1, 2, 0).numpy()
        expected = corrupt(image, THREE[kind], 2, np.random.default_rng([0, number]))
        assert np.array_equal(splits.ood_val.source.pixels([number])[0].permute(1, 2, 0), expected)
    again, other = folder(tree, **FEW, severity=2, **kept), folder(tree, **FEW, severity=3, **kept)
    assert torch.equal(again.ood_val.source.pixels(range(8)), splits.ood_val.source.pixels(range(8)))
    assert not torch.equal(other.ood_val.source.pixels(range(8)), splits.ood_val.source.pixels(range(8)))


def test_a_held_out_id_val_is_another(tree):
    splits = folder(tree, **FEW, options={"id_val": None})
    assert len(splits.id_val) == 2
    together = [*held_files(splits), *files(splits.id_val), *files(splits.id_train)]
    assert sorted(together) == whole(tree)


def test_by_default_a_tenth_in_all_classes_and_ways(tree):
    splits = folder(tree, corruptions="fog")
    assert splits.ood_val.counts(2) == [1, 1]
    text = fault(tree, corruptions=THREE)
    assert text.startswith("data.corrupted: 2 images for 3 corruptions, of 20 in id_train; allowed: 3 to 18: ")
    assert "data.corrupted: 19 images" in fault(tree, corruptions=THREE, corrupted=19)
    assert folder(tree, corruptions=THREE, corrupted=18).id_train.counts(2) == [1, 1]


def test_each_class_in_each_way_and_whole_ways_in_folds(tree):
    split = folder(tree, corruptions=THREE, corrupted=12).ood_val
    pairs = set(zip(split.labels.tolist(), split.domains.numbers.tolist(), strict=True))
    assert len(pairs) == 6
    for fold in folds(split, 2, 0):
        judging, fitting = (set(part.domains.numbers.tolist()) for part in (fold.judging, fold.fitting))
        assert judging.isdisjoint(fitting)


def test_shares_of_classes_that_differ_in_size():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 9 + [3])
    rows = by_shares(labels, 0)
    assert labels[rows].bincount(minlength=4).tolist() == [59, 29, 8, 0], "one of each is left"
    assert labels[rows[:33]].bincount(minlength=4).tolist() == [20, 10, 3, 0]
    assert not torch.equal(rows, by_shares(labels, 1))


def test_rows_of_a_table(picture_tree):
    without = "\n".join(line for line in table(picture_tree).splitlines() if not line.endswith(",ood_val"))
    for content in (without, table(picture_tree)):
        splits = load_csv(picture_tree, content, **FEW)
        assert splits.ood_val.domains.names == THREE
        assert len(splits.id_train) == 12
    with pytest.raises(DataError, match=r"no rows of ood_val; .*, or data.corruptions in place of ood_val"):
        load_csv(picture_tree, without)
    tables = {"id_train": "a.csv", "id_test": "b.csv", "ood_test": {"dusk": "c.csv"}}
    assert registry.faults(DataConfig(format="csv", options=tables, corruptions=THREE)) == []
    assert registry.faults(DataConfig(format="csv", options=tables))


def test_the_sets_own_validation_images_are_left_out(tmp_path):
    iwildcam(tmp_path)
    data = DataConfig(format="wilds", root=tmp_path, options={"name": "iwildcam"}, corruptions="fog", corrupted=2)
    splits = registry.load(data, 0, VIEW)
    assert (len(splits.id_train), len(splits.ood_val), splits.ood_val.domains.names) == (4, 2, ("fog",))
    own = suite("digits")
    data = DataConfig(format="digits", options={"id_train": 20, "ood_val": 20, "test": 20}, **FEW)
    ours = registry.load(data, 0, VIEW)
    assert torch.equal(ours.ood_val.source.clean.pixels([0]), own.id_train.source.pixels([rows_of(ours)[0]]))
    assert len(ours.id_train) == 12


def rows_of(splits) -> list[int]:
    """The numbers in id_train of the images that were held out."""
    return [origin(splits.ood_val.source.clean, i)[1] for i in range(len(splits.ood_val))]


def test_copies_do_not_stay_where_they_train_or_judge(tree, kept, capsys):
    """The tree has each picture twice, so whichever is held out has a copy that is not."""
    for image in whole(tree):
        copy(image, image.with_name(f"copy of {image.name}"))
    held = held_files(folder(tree, **FEW, **kept))
    alone = [file for file in held if twin(file) not in held]
    assert alone, "or nothing is tested"
    copy(alone[0], tree / "id_val" / alone[0].parent.name / "again.png")
    capsys.readouterr()
    splits = folder(tree, **FEW, **kept)
    assert held_files(splits) == held
    assert {*files(splits.id_train)}.isdisjoint({*held, *map(twin, held)})
    assert len(splits.id_train) == 40 - 8 - len(alone)
    assert len(splits.id_val) == 20
    told = capsys.readouterr().err
    assert f"id_train: {len(alone)} left out, copies of images that ood_val was made of\n" in told
    assert "id_val: 1 left out, copies of images that ood_val was made of\n" in told
    compared(splits)


def held_files(splits) -> list:
    """The files of the images that were corrupted."""
    return files(replace(splits.ood_val, source=splits.ood_val.source.clean))


def twin(file):
    name = file.name
    return file.with_name(name.removeprefix("copy of ") if name.startswith("copy") else f"copy of {name}")


def test_a_copy_in_a_test_is_found_through_the_corruption(tree, kept):
    file = held_files(folder(tree, **FEW, **kept))[0]
    copy(file, tree / "id_test/dark_square/99.png")
    text = refused(folder(tree, **FEW, **kept))
    assert text.startswith("ood_val: 1 picture of id_test too, the first: ")
    assert str(file) in text


def test_a_folder_without_validation_images(tree):
    text = fault(tree)
    assert f"{tree / 'ood_val'}: no such folder" in text
    assert text.endswith("or data.corruptions, with which ID images stand in for them")


def found(**changes) -> list[str]:
    return [str(one) for one in registry.faults(DataConfig(format="digits", **changes))]


def test_faults(monkeypatch):
    assert found(corruptions=THREE, severity=1, corrupted=3) == []
    (odd,) = found(corruptions=["fogg"])
    assert odd.startswith("data.corruptions: unknown name 'fogg'; allowed: all, brightness, ")
    assert odd.endswith("Did you mean 'fog'?")
    assert found(corruptions=["fog", "fog"]) == ["data.corruptions: fog, fog; allowed: each name once."]
    assert found(corrupted=5, severity=2) == [
        "data.corruptions: nothing given, but data.severity and data.corrupted; allowed: all, or names."
    ]
    assert found(corruptions=THREE, corrupted=2) == [
        "data.corrupted: 2 for 3 corruptions; allowed: at least one image of each."
    ]
    monkeypatch.setattr(settings, "photographs", lambda: ("here",))
    assert found(corruptions="all") == found(corruptions=NAMES) == []
    assert found(corruptions=["all", "fog"]) == ["data.corruptions: all, and others by name; allowed: all, or names."]
    monkeypatch.setattr(settings, "photographs", lambda: ())
    (missing,) = found(corruptions="all")
    assert "frost, whose photographs are not installed; allowed: pip install 'metaft[frost]', or others: [" in missing
    assert found(corruptions=[name for name in NAMES if name != "frost"]) == []
