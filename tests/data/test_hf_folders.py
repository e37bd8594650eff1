"""Folders of pictures with metadata, as the package `datasets` itself reads them."""

from __future__ import annotations

import csv
import gc
import json
import shutil
import socket
from pathlib import Path

import pytest
import torch

from metaft.data.arrow import splits_in
from tests.data.test_folder import VIEW
from tests.data.test_folder import load as load_folder
from tests.data.test_hf import CLASSES, SPLITS, datasets, fault, load
from tests.data.test_webdataset import by_number, same

__all__ = ["datasets"]  # a fixture that every test here uses
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the package leaves metadata.csv open


@pytest.fixture(autouse=True)
def closed():
    """Files that the package has left open are closed before another test begins."""
    yield
    gc.collect()


def described(root: Path, tree: Path, kind: str) -> Path:
    """The picture tree as folder/SPLIT/metadata with pictures in a folder of their own, listed in reverse."""
    for split, ours in SPLITS.items():
        (root / ours / "pictures").mkdir(parents=True)
        rows = []
        for name in CLASSES:
            for file in by_number(tree / split / name):
                shutil.copy(file, root / ours / "pictures" / f"{name}_{file.name}")
                row = {"file_name": f"pictures/{name}_{file.name}", "label": name, "site": len(rows) % 3}
                rows.append(row)
        write(root / ours, rows, kind)
    return root


def write(folder: Path, rows: list[dict], kind: str) -> None:
    if kind == "csv":
        with (folder / "metadata.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif kind == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(folder / "metadata.parquet")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_beside_pictures(picture_tree, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network is asked"))
    root = described(tmp_path / "set", picture_tree, kind)
    ours = load(root, options={"domain_key": "site"})
    same(ours, load_folder(picture_tree))
    assert ours.ood_val.domains.names == ("0", "1", "2")
    assert ours.ood_val.domains.numbers.tolist() == [number % 3 for number in range(len(ours.ood_val))]
    assert set(ours.tests) == {"id_test", "ood_test/dusk", "ood_test/dawn"}


def test_quotes_after_a_blank_are_none_of_a_label(picture_tree, tmp_path):
    root = described(tmp_path / "set", picture_tree, "csv")
    for split in SPLITS.values():
        table = root / split / "metadata.csv"
        table.write_text(table.read_text().replace(",dark_square", ', "dark_square"', 3))
    assert load(root).classes.folders == ("dark_square", "light_square")
    train = root / "train" / "metadata.csv"
    train.write_text(train.read_text().replace(",dark_square", ",'dark_square'"))
    assert "the label 'dark_square', of which the quotes are a part" in fault(root)


def test_it_is_what_the_package_reads(picture_tree, tmp_path, datasets):
    """Row by row, in the order of the metadata, which is not that of the files."""
    root = described(tmp_path / "set", picture_tree, "csv")
    table = root / "train" / "metadata.csv"
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(lines)]) + "\n")
    split = load(root).id_train
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(root / "train"), split="train", cache_dir=str(tmp_path / "own")
    )
    assert [CLASSES[label] for label in split.labels] == theirs["label"] == ["light_square"] * 10 + ["dark_square"] * 10
    shown = torch.stack([VIEW.transform(picture.convert("RGB")) for picture in theirs["image"]])
    assert torch.equal(split.source.pixels(range(len(split))), shown)


def test_splits_are_the_folders_with_metadata(picture_tree, tmp_path):
    """A folder of another kind beside them is none, whatever its name."""
    root = described(tmp_path / "a [set]", picture_tree, "csv")
    shutil.copytree(picture_tree / "id_test", root / "ood_test_fog")
    assert splits_in(root) == sorted(SPLITS.values())
    same(load(root), load_folder(picture_tree))


def test_what_is_in_no_row_is_told(picture_tree, tmp_path, capsys):
    root = described(tmp_path / "set", picture_tree, "csv")
    table = root / "train" / "metadata.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    (root / "train" / "notes.txt").write_text("of a person")
    load(root)
    said = capsys.readouterr().err
    assert "id_train: 19 pictures; left out: " in said
    assert "1 in no row" in said
    assert "1 .txt" in said


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_picture_counts_once_for_all_its_captions(picture_tree, tmp_path, capsys, kind):
    root = described(tmp_path / "set", picture_tree, kind)
    files = sorted((root / "train" / "pictures").iterdir())
    rows = [
        {"file_name": f"pictures/{f.name}", "label": "_".join(f.name.split("_")[:2]), "text": i}
        for f in files
        for i in "ab"
    ]
    write(root / "train", rows, kind)
    assert load(root).id_train.counts(2) == [10, 10]
    assert "id_train: 20 pictures; left out: 20 listed again\n" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_that_is_none(picture_tree, tmp_path, kind):
    root = described(tmp_path / "set", picture_tree, kind)
    table = root / "train" / f"metadata.{kind}"
    table.write_bytes(b"")
    assert f"{table}: an empty file (0 bytes)" in fault(root)
    table.unlink()
    table.symlink_to("nowhere")
    assert str(table) in fault(root)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_paths_in_another_form_than_on_disk(picture_tree, tmp_path, capsys, kind):
    """Names that a Mac has taken apart in its files, or in its table."""
    root = described(tmp_path / "set", picture_tree, kind)
    for split in SPLITS.values():
        shutil.move(root / split / "pictures", root / split / "cafe\u0301")
        files = sorted((root / split / "cafe\u0301").iterdir())
        rows = [{"file_name": f"caf\u00e9/{file.name}", "label": file.name.rpartition("_")[0]} for file in files]
        write(root / split, [{**row, "label": "_".join(row["label"].split("_")[:2])} for row in rows], kind)
    load(root)
    assert "id_train: 20 pictures\n" in capsys.readouterr().err, "none of them in no row"


def test_faults_are_named(picture_tree, tmp_path):
    root = described(tmp_path / "set", picture_tree, "csv")
    gone = next((root / "train" / "pictures").iterdir())
    gone.rename(tmp_path / gone.name)
    assert "1 of 20 files are not there, the first: " in (said := fault(root))
    assert gone.name in said
    (tmp_path / gone.name).rename(gone)
    table = root / "train" / "metadata.csv"
    text = table.read_text()
    table.write_text(text.replace("file_name", "file"))
    assert f"{table}: the columns file, label, site; allowed: file_name among the columns" in fault(root)
    table.write_text(text.replace("label", "class"))
    assert "no column 'label'; allowed: " in fault(root)
    first = text.splitlines()[1]
    table.write_text(text.replace(first, ",".join([first.split(",")[0], "", "0"])))
    assert "row 0: no class; allowed: one in each row of 'label'" in fault(root)
    table.write_text(text.replace("pictures/", "../pictures/", 1))
    assert f"{table}, line 2: '../pictures/" in (said := fault(root))
    assert "which leads out of the folder; allowed: a path below it" in said
    table.write_text(text)
    (root / "train" / "pictures" / "metadata.csv").write_text("file_name\n0.png\n")
    assert "pictures/metadata.csv: the columns file_name; allowed: file_name, label, site" in fault(root)
    (root / "train" / "pictures" / "metadata.csv").rename(root / "train" / "metadata.jsonl")
    assert f"{root / 'train' / 'metadata.jsonl'}: beside {table}; allowed: metadata of one form" in fault(root)


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        (("007", "7a"), ["007", "7a"]),
        (("0100", "20"), ["20", "0100"]),
        (("NA", "None"), ["NA", "None"]),
        (("2020-01-01", "1e5"), ["1e5", "2020-01-01"]),
        (("1.0", "0"), ["0", "1"]),
    ],
)
def test_names_are_what_was_typed(picture_tree, tmp_path, typed, known):
    """Neither numbers nor dates nor nothing, whatever a reader of tables would make of them."""
    root = described(tmp_path / "set", picture_tree, "csv")
    retyped(root, typed)
    splits = load(root, options={"group_key": "site"})
    assert splits.classes.names == tuple(known)
    dark = known.index(typed[0].removesuffix(".0"))
    assert splits.id_train.labels.tolist() == [dark] * 10 + [1 - dark] * 10


def test_a_number_typed_in_two_ways_is_refused(picture_tree, tmp_path):
    root = described(tmp_path / "set", picture_tree, "csv")
    retyped(root, ("007", "7"))
    assert "the labels '007' and '7'; allowed: each number written in one way" in fault(root)


def retyped(root: Path, typed: tuple[str, str]) -> None:
    """Other names of the two classes in every table."""
    for table in root.glob("*/metadata.csv"):
        text = table.read_text()
        for name, other in zip(CLASSES, typed, strict=True):
            text = text.replace(f",{name},", f",{other},")
        table.write_text(text)


def test_tables_in_folders_below_are_read_too(picture_tree, tmp_path, datasets):
    """In the order of their paths; that of the package changes from call to call."""
    root = described(tmp_path / "set", picture_tree, "csv")
    (root / "train" / "more").mkdir()
    shutil.copy(next((root / "test" / "pictures").iterdir()), root / "train" / "more" / "one.png")
    (root / "train" / "more" / "metadata.csv").write_text("file_name,label,site\none.png,dark_square,1\n")
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(root / "train"), split="train", cache_dir=str(tmp_path / "own")
    )
    split = load(root).id_train
    ours = [CLASSES[label] for label in split.labels]
    assert ours == ["dark_square"] * 10 + ["light_square"] * 10 + ["dark_square"]
    assert sorted(ours) == sorted(theirs["label"])
