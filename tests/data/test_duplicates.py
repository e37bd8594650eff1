"""The same picture in two splits is found and named, wherever it could judge what it trained."""

from __future__ import annotations

from dataclasses import replace
from shutil import copy
from time import perf_counter

import pytest
import torch

from metaft import build, config
from metaft.build.sources import fold_parts
from metaft.data import decoded, objects
from metaft.data.draws import hold_out
from metaft.data.duplicates import compared, contents_of, shared_images
from metaft.errors import DataError
from tests.conftest import by_default
from tests.data.suites import load
from tests.data.test_folder import load as folder
from tests.data.test_objects import opened
from tests.data.test_objects import pictures as drawn


def refused(splits) -> str:
    with pytest.raises(DataError) as caught:
        compared(splits)
    return str(caught.value)


@pytest.fixture(params=["pixels", "files"])
def way(request, monkeypatch, tmp_path):
    """How pictures are compared: they are held in memory, or too large for it."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    if request.param == "files":
        monkeypatch.setattr(decoded, "MEMORY", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("id_train", "ood_val"),
        ("id_val", "ood_val"),
        ("id_train", "id_test"),
        ("ood_val", "ood_test/dusk"),
        ("id_val", "id_test"),
    ],
)
def test_files_are_named(picture_tree, source, target):
    for number in (3, 7):
        copy(picture_tree / source / f"dark_square/{number}.png", picture_tree / target / f"dark_square/1{number}.png")
    text = refused(folder(picture_tree))
    assert text.startswith(f"{source}: 2 pictures of {target} too, the first: ")
    assert f"{source}/dark_square/3.png is " in text
    assert f"{target}/dark_square/13.png; allowed: " in text


@pytest.mark.usefixtures("way")
def test_what_may_be_there_twice(picture_tree):
    for source, target in (("id_train", "id_val"), ("ood_test/dusk", "ood_test/dawn"), ("ood_val", "ood_val")):
        copy(picture_tree / source / "dark_square/3.png", picture_tree / target / "dark_square/13.png")
    compared(folder(picture_tree))


def test_further_sources_share_nothing(picture_tree):
    paths = {"ood_test": {"dawn": "ood_test/dawn"}, "more": {"dusk": "ood_test/dusk"}}
    compared(folder(picture_tree, options=paths))
    copy(picture_tree / "id_train/dark_square/3.png", picture_tree / "ood_test/dusk/dark_square/13.png")
    assert refused(folder(picture_tree, options=paths)).startswith("id_train: 1 picture of more/dusk too")
    paths["more"] = {"dusk": "ood_test/dusk", "again": "ood_test/dusk"}
    (picture_tree / "ood_test/dusk/dark_square/13.png").unlink()
    assert "more/dusk: 20 pictures of more/again too" in refused(folder(picture_tree, options=paths))


def test_a_held_out_part_has_the_files_of_its_whole(picture_tree):
    splits = folder(picture_tree, options={"id_val": None})
    (number,) = (splits.id_val.labels == 1).nonzero()[:, 0]
    held = splits.id_val.source.pixels([int(number)])
    (same,) = (splits.id_val.source.source.array == held).flatten(1).all(1).nonzero()[:, 0].tolist()
    file = splits.id_val.source.source.files[same]
    copy(file, picture_tree / "ood_val/light_square/10.png")
    assert f"id_val: 1 picture of ood_val too, the first: {file} is " in refused(
        folder(picture_tree, options={"id_val": None})
    )


def test_items_are_numbered():
    shared = drawn(6, 1)
    assert refused(opened(ood_val=None, ood_val__noon=drawn(3, 5), ood_val__haze=shared, more__x=shared[2:])) == (
        "ood_val: 4 pictures of more/x too, the first: item 2 is item 0; allowed: each picture in one of them"
    )
    compared(opened(more__x=drawn(6, 7)))


def test_blank_pages_are_no_evidence():
    page = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    page[0] = 7
    splits = opened(ood_val=[(page, 0), *drawn(4, 1)], more__x=[(page, 1), *drawn(3, 4)])
    compared(splits)
    page[1, 2, 3] = 8
    assert "item 0 is item 0" in refused(opened(ood_val=[(page, 0)], more__x=[(page, 1)]))


def test_items_read_when_asked_for_are_not_compared(monkeypatch):
    monkeypatch.setattr(objects, "MEMORY", 0)
    shared = drawn(6, 1)
    compared(opened(ood_val=shared, more__x=shared[:]))


def test_a_workspace_is_refused(picture_tree):
    copy(picture_tree / "ood_val/dark_square/3.png", picture_tree / "ood_test/dusk/dark_square/13.png")
    cfg = config.load(None, ["data.format=folder", f"data.root={picture_tree}"])
    with pytest.raises(DataError, match="ood_val: 1 picture of ood_test/dusk too"):
        build.workspace(cfg)


@pytest.mark.parametrize("name", by_default(("digits",), ["shapes", "digits"]))
def test_embedded_suites_deal_each_picture_once_and_are_compared_fast(name):
    splits = load(name, id_train=2000, id_val=600, ood_val=300, test=600)
    start = perf_counter()
    assert shared_images(splits.parts, contents_of(splits.parts)) is None
    assert perf_counter() - start < 2, "0.1 s on an idle processor"


def test_parts_of_one_split(picture_tree):
    splits = folder(picture_tree)
    train, held = hold_out(splits.id_train, 0)
    compared(replace(splits, id_train=train, ood_val=held, id_val=splits.ood_val))
    assert "20 pictures" in refused(replace(splits, more={"again": splits.ood_val}))


@pytest.mark.usefixtures("way")
def test_copies_within_a_split_are_known(picture_tree):
    """Marked by number; labels and names of files do not matter."""
    ood_val = picture_tree / "ood_val"
    assert compared(folder(picture_tree)).ood_val.pictures is None
    copy(ood_val / "dark_square/3.png", ood_val / "light_square/13.png")
    copy(ood_val / "dark_square/5.png", ood_val / "dark_square/4.png")
    marked = compared(folder(picture_tree), published=True).ood_val
    pixels = marked.source.pixels(range(len(marked))).flatten(1)
    same = (pixels[:, None] == pixels[None]).all(2)
    assert same.sum() == len(marked) + 4, "two pairs"
    assert torch.equal(marked.pictures[:, None] == marked.pictures[None], same)


@pytest.mark.parametrize(
    ("way", "splits"), [("pixels", ["id_train", "ood_val"]), ("files", ["ood_val"])], indirect=["way"]
)
def test_copies_in_two_classes_are_told(picture_tree, capsys, way, splits):
    """Of files too large to be kept those of ood_val are compared with each other, others where that costs nothing."""
    for split in ("id_train", "ood_val"):
        copy(picture_tree / split / "dark_square/3.png", picture_tree / split / "light_square/13.png")
        copy(picture_tree / split / "dark_square/3.png", picture_tree / split / "dark_square/13.png")
    compared(folder(picture_tree))
    told = capsys.readouterr().err.splitlines()
    for split in splits:
        (doubt,) = (line for line in told if f"{split}: 1 picture in two classes, the first: " in line)
        assert f"{picture_tree / split}/dark_square/" in doubt
        assert doubt.endswith(f" is {picture_tree / split}/light_square/13.png of 'light_square'")


def test_no_copy_judges_what_a_search_trains_on(picture_tree):
    copy(picture_tree / "ood_val/dark_square/3.png", picture_tree / "ood_val/light_square/13.png")
    work = build.workspace(config.load(None, ["data.format=folder", f"data.root={picture_tree}"]))
    seen = [{*fold.fitting.pictures.tolist()} & {*fold.judging.pictures.tolist()} for fold in fold_parts(work)]
    assert seen == [set(), set()]
