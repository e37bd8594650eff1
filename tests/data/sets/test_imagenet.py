"""ImageNet and its kin in miniature copies of their layouts; its tables and masks against other libraries'."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchvision
from PIL import Image
from timm.data import ImageNetInfo

from metaft.clip.predict import competing
from metaft.data.sets.imagenet import ENTRY, FACTS, Options
from metaft.data.table import read_table
from metaft.errors import DataError
from metaft.metrics import accuracy
from tests.data.sets.miniatures import imagenet
from tests.data.sets.readers import files, labels, load, pixels, same_as

TABLE = [line.cells for line in read_table(FACTS, ("wnid", "name", "subsets", "objectnet"))]


def test_the_table_is_open_clips_and_timms():
    pairs = enumerate(zip((row["name"] for row in TABLE), open_clip.IMAGENET_CLASSNAMES, strict=True))
    assert {label: names for label, names in pairs if names[0] != names[1]} == {
        744: ("projectile", "missile"),
        836: ("sunglass", "sunglasses"),
    }
    assert len({row["name"].casefold() for row in TABLE}) == 1000
    assert [row["wnid"] for row in TABLE] == ImageNetInfo("imagenet-1k").label_names()
    for subset in "ar":
        listed = Path(timm.__file__).parent / "data" / "_info" / f"imagenet_{subset}_indices.txt"
        ours = [label for label, row in enumerate(TABLE) if subset in row["subsets"].split()]
        assert ours == sorted(map(int, listed.read_text().split()))
    objects = Counter(row["objectnet"] for row in TABLE if row["objectnet"] != "-")
    assert (len(objects), sum(objects.values())) == (113, 125), "as the paper of ObjectNet counts"


# On logits of 12 images, what WiSE-FT's own project_logits and class lists give: see `fixed` for the logits.
WISE_FT = {
    "imagenet_a": [786, 71, 27, 606, 514, 839, 378, 957, 774, 313, 130, 987],
    "imagenet_r": [393, 71, 928, 122, 907, 724, 263, 957, 889, 337, 245, 824],
}
TRUTH = {
    "imagenet_a": [786, 17, 57, 606, 309, 411, 378, 802, 6, 313, 557, 890],
    "imagenet_r": [393, 8, 47, 122, 208, 301, 263, 717, 1, 337, 393, 889],
}
WISE_FT_OBJECTS = (
    *("bicycle", "printer", "spatula", "pillow", "wine_bottle", "binder_closed"),
    *("hair_dryer", "bench", "sandal", "frying_pan", "butchers_knife", "bottle_cap"),
)


def fixed() -> torch.Tensor:
    """[12, 1000], without two that are equal in a row."""
    grid = torch.arange(12_000).reshape(12, 1000)
    return ((grid * 7919 + grid // 1000 * 104729) % 10007).double() / 1000


def test_answers_are_wise_fts_on_fixed_logits():
    parts = ENTRY.shifts(Options())
    for name, expected in WISE_FT.items():
        projected = competing(fixed(), torch.tensor(parts[name].answers()))
        assert projected.argmax(1).tolist() == expected
        assert accuracy(projected, torch.tensor(TRUTH[name])) == pytest.approx(1 / 3)
    projected = competing(fixed(), torch.tensor(parts["objectnet"].answers()))
    found = [TABLE[label]["objectnet"] for label in projected.argmax(1).tolist()]
    assert found == list(WISE_FT_OBJECTS)
    assert int(projected.isfinite().sum(1).unique()) == 113
    bicycles = [label for label, row in enumerate(TABLE) if row["objectnet"] == "bicycle"]
    assert len(bicycles) == 2
    assert projected[:, bicycles[0]].tolist() == fixed()[:, bicycles].amax(1).tolist()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def splits(root):
    return load("imagenet", root)


def test_every_part_is_read(root, splits):
    names = ("imagenet_v2", "imagenet_r", "imagenet_a", "imagenet_sketch", "objectnet")
    assert set(splits.tests) == {"id_test", *(f"ood_test/{name}" for name in names)}
    assert min(splits.id_train.counts(1000)) == 1
    assert len(splits.id_val) == 40
    assert splits.classes.templates == tuple(t("{}") for t in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert splits.ood_val.domains.names == ("fog", "snow")
    assert splits.ood_val.groups.names == tuple(f"ILSVRC2012_val_{label:08d}.JPEG" for label in (0, 5, 7, 998))
    assert {Path(file).parent.parent.name for file in files(splits.ood_val)} == {"5"}
    mild = load("imagenet", root, severity=1, tests=["imagenet_a"])
    assert {Path(file).parent.parent.name for file in files(mild.ood_val)} == {"1"}


def test_trees_are_torchvisions(root, splits):
    folder = torchvision.datasets.ImageFolder(root / "imagenet" / "val_in_folder")
    label = {name: number for number, name in enumerate(row["wnid"] for row in TABLE)}
    expected = [(image, label[folder.classes[number]]) for image, number in folder]
    same_as(splits.tests["id_test"], expected)


def test_folders_of_v2_are_labels(splits):
    split = splits.tests["ood_test/imagenet_v2"]
    assert labels(split) == [int(Path(file).parent.name) for file in files(split)]
    assert labels(split)[:4] == [0, 2, 10, 999], "10 does not come before 2"


def test_a_and_r_answer_with_their_classes(splits):
    for subset, odd in (("a", "goldfish"), ("r", "tench")):
        split = splits.tests[f"ood_test/imagenet_{subset}"]
        assert len(split) == 200
        answers = split.answers.tolist()
        assert sorted(labels(split)) == [label for label in range(1000) if answers[label] == label]
        assert answers[[row["name"] for row in TABLE].index(odd)] == -1


def test_as_coop_lays_it_out(root, splits, tmp_path):
    places = {
        "imagenet/images/train": "imagenet/train",
        "imagenet/images/val": "imagenet/val_in_folder",
        "imagenetv2/imagenetv2-matched-frequency-format-val": "ImageNetV2-matched-frequency",
        "imagenet-sketch/images": "sketch",
        "imagenet-adversarial/imagenet-a": "imagenet-a",
        "imagenet-rendition/imagenet-r": "imagenet-r",
    }
    for ours, theirs in places.items():
        (tmp_path / ours).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ours).symlink_to(root / theirs)
    (tmp_path / "imagenet-sketch" / "classnames.txt").write_text("n01440764 tench\n")
    found = load("imagenet", tmp_path, ood_val_from="imagenet_sketch")
    assert labels(found.id_train) == labels(splits.id_train)
    assert labels(found.ood_val) == labels(splits.tests["ood_test/imagenet_sketch"])
    for name in ("id_test", "ood_test/imagenet_v2", "ood_test/imagenet_a", "ood_test/imagenet_r"):
        assert labels(found.tests[name]) == labels(splits.tests[name])


def test_objectnet_without_frames_and_other_objects(splits):
    split = splits.tests["ood_test/objectnet"]
    assert [Path(file).parent.name for file in files(split)] == ["alarm_clock", "bicycle"]
    assert labels(split) == [409, 444], "analog clock, bicycle-built-for-two: the first of two classes each"
    assert split.answers[[409, 530, 444, 671, 0]].tolist() == [409, 409, 444, 444, -1]
    assert pixels(split).float().std() == 0, "inside the frame the miniature is grey"


def test_a_training_set_that_is_not_whole_is_refused(tmp_path):
    for wnid in ("n01440764", "n01443537"):
        (tmp_path / "imagenet" / "train" / wnid).mkdir(parents=True)
    with pytest.raises(DataError, match="998 of 1000 class folders are not there, the first: n01484850"):
        load("imagenet", tmp_path)


def test_a_flat_validation_folder_without_labels_is_refused(tmp_path):
    for place in ("imagenet/val_in_folder", "sketch"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / place / "ILSVRC2012_val_00000001.JPEG")
    part = ENTRY.layout(Options(), tmp_path).parts["id_test"]
    place, read = part.found(tmp_path)
    with pytest.raises(DataError, match=r"id_test: .*val_in_folder: no class folders, and no labels of"):
        read("id_test", place, [row["wnid"] for row in TABLE])
