"""What a run has read as it began: pictures that are lost later leave the others their places."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from metaft import config
from metaft.build.workspace import workspace
from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.first_reading import FirstReading
from metaft.errors import DataError
from metaft.progress import heard
from tests.data.test_folder import VIEW


def load(root: Path, begun: FirstReading, seed=0, **changes):
    settings = {"format": "folder", "root": root, "on_unreadable": "skip", "options": {"id_val": None}, **changes}
    return registry.load(DataConfig(**settings).since(begun), seed, VIEW)


def again(begun: FirstReading, tmp_path: Path) -> FirstReading:
    """As it is written and read."""
    (tmp_path / "pictures.json").write_text(begun.to_json())
    return FirstReading.load(tmp_path / "pictures.json")


def spoil(path: Path) -> None:
    path.write_bytes(b"no picture")


LOSSES = {"bad": spoil, "empty": lambda path: path.write_bytes(b""), "gone": Path.unlink}


@pytest.mark.parametrize("loss", LOSSES)
def test_all_others_keep_their_places(picture_tree, tmp_path, kept, loss):
    """Held-out parts, which are drawn by number, too; one that was unreadable from the start stays left out."""
    dark = sorted((picture_tree / "id_train/dark_square").iterdir())
    spoil(dark[0])
    begun = FirstReading()
    before = load(picture_tree, begun, **kept)
    pixels = {name: split.source.pixels(range(len(split))).clone() for name, split in before.parts.items()}
    LOSSES[loss](dark[5])
    with heard() as warned:
        after = load(picture_tree, again(begun, tmp_path), **kept)
    (said,) = [line for line in warned if "as the run began" in line]
    assert said.startswith("id_train: 1 of 19 pictures that were read as the run began cannot be any more, ")
    assert f"{dark[5]}: unreadable image (" in said
    assert said.endswith(f"; {dark[6]} stands in for it")
    others = 0
    for name, split in after.parts.items():
        assert torch.equal(split.labels, before.parts[name].labels)
        same = (split.source.pixels(range(len(split))) == pixels[name]).flatten(1).all(1)
        others += int((~same).sum())
    assert others == 1
    assert sum(map(len, after.parts.values())) == sum(map(len, before.parts.values()))


def test_a_table_that_lists_it_still(picture_tree, tmp_path):
    """Its domain and its group stay its own."""
    lines = ["filepath,label,split,domain,group"]
    for split in ("id_train", "id_val", "ood_val", "id_test", "ood_test/dusk"):
        for number, path in enumerate(sorted((picture_tree / split).rglob("*.png"))):
            lines.append(f"{path},{path.parent.name},{split},place {number % 2},visit {number // 2}")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    begun, how = FirstReading(), {"format": "csv", "options": {"file": tmp_path / "all.csv"}}
    before = load(picture_tree, begun, **how).ood_val
    spoil(sorted((picture_tree / "ood_val").rglob("*.png"))[3])
    after = load(picture_tree, again(begun, tmp_path), **how).ood_val
    assert torch.equal(after.domains.numbers, before.domains.numbers)
    assert torch.equal(after.groups.numbers, before.groups.numbers)


def test_a_picture_that_was_mended_stays_left_out(picture_tree, tmp_path, capsys):
    bad = picture_tree / "id_train/dark_square/3.png"
    content = bad.read_bytes()
    spoil(bad)
    begun = FirstReading()
    before = load(picture_tree, begun).id_train.source.pixels(range(17)).clone()
    bad.write_bytes(content)
    capsys.readouterr()
    after = load(picture_tree, again(begun, tmp_path)).id_train.source.pixels(range(17))
    assert torch.equal(before, after)
    assert "id_train: 19 pictures; left out: 1 unreadable as the run began\n" in capsys.readouterr().err


def test_workers_see_the_same(picture_tree):
    """Who gets the settings opens the same data, whenever that is."""
    begun = FirstReading()
    load(picture_tree, begun)
    data = DataConfig(format="folder", root=picture_tree, on_unreadable="skip").since(begun)
    assert pickle.loads(pickle.dumps(data.model_copy(update={"workers": 2}))).begun == begun
    assert data.begun.read["id_train"][0].file.endswith("dark_square/0.png")


def test_of_a_whole_class_nothing_stands_in(picture_tree, tmp_path):
    begun = FirstReading()
    for path in sorted((picture_tree / "ood_val/dark_square").iterdir())[1:]:
        path.unlink()
    load(picture_tree, begun)
    spoil(next((picture_tree / "ood_val/dark_square").iterdir()))
    with pytest.raises(DataError, match="no image of class dark_square is readable"):
        load(picture_tree, again(begun, tmp_path))


def test_many_are_refused(picture_tree, tmp_path):
    """As where a disk is gone."""
    begun = FirstReading()
    load(picture_tree, begun)
    bad = sorted((picture_tree / "ood_val/dark_square").iterdir())[:3]
    for path in bad:
        spoil(path)
    with pytest.raises(DataError) as caught:
        load(picture_tree, again(begun, tmp_path))
    said = "ood_val: 3 of 20 pictures that were read as the run began cannot be any more, the first: "
    assert str(caught.value).startswith(f"{said}{bad[0]}: unreadable image")
    assert str(caught.value).endswith(
        "; allowed: 10% of them, which others of their classes stand in for; or a new run"
    )


@pytest.fixture
def fingerprints(picture_tree):
    """The fingerprints of a run's data, of which this was read as it began."""

    def of(begun: FirstReading | None, *words: str):
        given = ["data.format=folder", f"data.root={picture_tree}", "data.on_unreadable=skip", *words]
        cfg = config.load(None, given)
        return workspace(cfg.model_copy(update={"data": cfg.data.since(begun)})).fingerprints

    return of


def anew(path: Path) -> None:
    Image.new("RGB", (40, 40), (9, 90, 200)).save(path)


@pytest.mark.parametrize(
    ("change", "others"),
    [
        (lambda root: spoil(root / "id_train/dark_square/3.png"), set()),
        (lambda root: (root / "ood_test/dusk/light_square/3.png").unlink(), set()),
        (lambda root: anew(root / "id_train/dark_square/3.png"), {"id_train"}),
        (lambda root: anew(root / "id_val/dark_square/more.png"), {"id_val"}),
        (
            lambda root: shutil.move(
                next((root / "ood_val/dark_square").iterdir()), root / "ood_val/light_square/x.png"
            ),
            {"ood_val"},
        ),
    ],
    ids=["bad", "gone", "another", "more", "moved"],
)
def test_a_loss_is_told_apart_from_other_changes(fingerprints, picture_tree, tmp_path, change, others):
    begun = FirstReading()
    before = fingerprints(begun)
    assert before == fingerprints(None), "as where nothing is kept"
    change(picture_tree)
    after = fingerprints(again(begun, tmp_path))
    assert {name for name in before if after[name] != before[name]} == others


def test_another_picture_beside_a_lost_one_is_found(fingerprints, picture_tree, tmp_path):
    begun = FirstReading()
    before = fingerprints(begun)
    spoil(picture_tree / "id_train/dark_square/3.png")
    anew(picture_tree / "id_train/dark_square/5.png")
    after = fingerprints(again(begun, tmp_path))
    assert {name for name in before if after[name] != before[name]} == {"id_train"}


def test_corrupted_pictures_stand_in_too(fingerprints, picture_tree, tmp_path):
    begun, words = FirstReading(), ("data.corruptions=[fog]", "data.corrupted=8")
    before = fingerprints(begun, *words)
    spoil(picture_tree / "id_train/dark_square/3.png")
    assert fingerprints(again(begun, tmp_path), *words) == before


@pytest.mark.parametrize("text", ["", "[]", '{"read": {"a": [[1]]}, "seen": 3}', '{"read": {"a": 1}}', "[" * 99999])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "pictures.json").write_text(text)
    with pytest.raises(
        DataError, match=r"pictures.json: what the run has read cannot be known \(.*; allowed: the file"
    ):
        FirstReading.load(tmp_path / "pictures.json")
