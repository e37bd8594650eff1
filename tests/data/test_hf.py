"""Tables of `datasets` on disk: the same splits as from folders, and every fault by its table and row."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image

from metaft.config.schema import DataConfig
from metaft.data import decoded, decoding, registry
from metaft.data.decoded import ImageFiles
from metaft.data.duplicates import compared
from metaft.data.store import Mapped
from metaft.errors import DataError
from tests.data.test_folder import VIEW
from tests.data.test_folder import load as load_folder
from tests.data.test_webdataset import by_number, same

SPLITS = {
    "id_train": "train",
    "id_val": "validation",
    "ood_val": "ood_val",
    "id_test": "test",
    "ood_test/dusk": "ood_test_dusk",
    "ood_test/dawn": "ood_test_dawn",
}
CLASSES = ["dark_square", "light_square"]
OPTIONS = {"ood_test": {"dusk": "ood_test_dusk", "dawn": "ood_test_dawn"}}


@pytest.fixture(autouse=True)
def datasets(monkeypatch, tmp_path):
    """The package, without bars, and with what it writes among the test's files."""
    package = pytest.importorskip("datasets")
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    package.disable_progress_bars()
    return package


def opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.copy()


def rows(split: Path, kind: str = "bytes") -> dict[str, list]:
    """The columns of a split of a picture tree: pictures as bytes, opened, or by paths."""
    files = [(name, file) for name in CLASSES for file in by_number(split / name)]
    picture = {"bytes": lambda f: {"bytes": f.read_bytes(), "path": f.name}, "opened": opened, "path": str}[kind]
    domains = ["noon" if number % 3 else "haze" for number in range(len(files))]
    return {"image": [picture(file) for _, file in files], "label": [name for name, _ in files], "domain": domains}


def table(columns: dict[str, list], label=None):
    """A table whose labels are the numbers of a ClassLabel, or what a function makes of the class."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    if label is not None:
        columns = {**columns, "label": [label(name) for name in columns["label"]]}
        kind = Value("int64" if isinstance(columns["label"][0], int) else "string")
    else:
        kind = ClassLabel(names=CLASSES)
    return Dataset.from_dict(columns, Features(image=Image(), label=kind, domain=Value("string")))


def saved(root: Path, tree: Path, kind="bytes", label=None) -> Path:
    """The picture tree as `DatasetDict.save_to_disk` writes it."""
    from datasets import DatasetDict

    DatasetDict({ours: table(rows(tree / split, kind), label) for split, ours in SPLITS.items()}).save_to_disk(root)
    return root


def parquet(root: Path, tree: Path) -> Path:
    """The picture tree as the hub lays it out: data/SPLIT-00000-of-00002.parquet."""
    (root / "data").mkdir(parents=True)
    for split, ours in SPLITS.items():
        whole = table(rows(tree / split))
        for part in range(2):
            rows_of_part = whole.shard(2, part, contiguous=True)
            rows_of_part.to_parquet(root / "data" / f"{ours}-0000{part}-of-00002.parquet")
    return root


def load(root: Path, **changes):
    return registry.load(DataConfig(**{"format": "hf", "root": root, **changes}), 0, VIEW)


def fault(root: Path, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **changes)
    return str(caught.value)


def replaced(root: Path, split: str, changed) -> None:
    """A split of a saved set with other rows."""
    from datasets import load_from_disk

    found = changed(load_from_disk(root / split))
    found.save_to_disk(root / "new")
    shutil.rmtree(root / split)
    (root / "new").rename(root / split)


def test_saved_tables_give_the_splits_of_folders(picture_tree, tmp_path, capsys):
    root = saved(tmp_path / "set", picture_tree)
    ours, theirs = load(root), load_folder(picture_tree)
    same(ours, theirs)
    assert list(ours.parts) == [*list(SPLITS)[:4], "ood_test/dawn", "ood_test/dusk"]
    assert ours.classes == theirs.classes
    assert "id_train: 20 pictures\n" in capsys.readouterr().err
    row = ours.id_train.source.files[13]
    assert str(row) == f"{root / 'train'}, row 13"
    assert row.read() == by_number(picture_tree / "id_train/light_square")[3].read_bytes()
    assert row.size == len(row.read())


@pytest.mark.parametrize(
    ("label", "names", "order"),
    [
        (lambda name: name, ("dark square", "light square"), [0, 1]),
        (lambda name: {"dark_square": 10, "light_square": 9}[name], ("9", "10"), [1, 0]),
    ],
)
def test_labels_may_be_text_or_numbers(picture_tree, tmp_path, label, names, order):
    splits = load(saved(tmp_path / "set", picture_tree, "opened", label))
    assert splits.classes.names == names
    assert splits.id_val.labels.tolist() == [order[0]] * 10 + [order[1]] * 10


def test_files_of_the_hub(picture_tree, tmp_path):
    root = parquet(tmp_path / "set", picture_tree)
    same(load(root), load_folder(picture_tree))
    alone = tmp_path / "alone"
    for split in SPLITS.values():
        (alone / split).mkdir(parents=True)
        for part in range(2):
            (root / f"data/{split}-0000{part}-of-00002.parquet").rename(alone / split / f"000{part}.parquet")
    same(load(alone), load_folder(picture_tree))
    shutil.copy(alone / "train/0000.parquet", alone / "one.parquet")
    assert len(load(alone, options={"id_val": "one.parquet"}).id_val) == 10
    (alone / "train/0000.parquet").unlink()
    with pytest.raises(DataError, match="id_train: no image of class 'dark square', of which id_val has some"):
        load(alone, options={"id_val": "one.parquet"})


def test_a_file_that_is_changed_is_read_again(picture_tree, tmp_path):
    root = parquet(tmp_path / "set", picture_tree)
    before = load(root)
    table(rows(picture_tree / "ood_val")).shard(2, 1, contiguous=True).to_parquet(
        root / "data/validation-00001-of-00002.parquet"
    )
    after = load(root)
    assert torch.equal(after.id_val.source.pixels(range(10, 20)), before.ood_val.source.pixels(range(10, 20)))


def test_pictures_may_lie_in_files(picture_tree, tmp_path):
    """As a table of paths has them, which are files beside it or absolute."""
    from datasets import Dataset

    for split, ours in SPLITS.items():
        columns = rows(picture_tree / split, "path")
        columns["image"] = [str(Path(path).relative_to(picture_tree)) for path in columns["image"]]
        Dataset.from_dict(columns).to_parquet(picture_tree / f"{ours}.parquet")
    splits = load(picture_tree)
    same(splits, load_folder(picture_tree))
    assert splits.id_train.source.files[13] == picture_tree / "id_train/light_square/3.png"
    splits.id_train.source.files[13].unlink()
    assert "id_train: 1 of 20 files are not there, the first: " in fault(picture_tree)


def test_domains_other_columns_and_a_held_out_part(picture_tree, tmp_path):
    root = saved(tmp_path / "set", picture_tree)
    for split in SPLITS.values():
        replaced(root, split, lambda t: t.rename_columns({"image": "img", "label": "fine", "domain": "style"}))
    keys = {"image_key": "img", "label_key": "fine", "domain_key": "style"}
    splits = load(root, options={**keys, **OPTIONS, "id_val": None, "more": {"again": "validation"}})
    assert splits.ood_val.domains.names == ("haze", "noon")
    assert splits.ood_val.domains.numbers.tolist() == [int(number % 3 > 0) for number in range(20)]
    assert (splits.id_train.counts(2), splits.id_train.domains) == ([9, 9], None)
    assert list(splits.search_data.sources) == ["ood_val", "again"]
    keys["domain_key"] = "styl"
    assert "no column 'styl'; allowed: img, fine, style; nearest: 'style'" in fault(root, options=keys)


def test_groups_of_the_splits_that_judge(picture_tree, tmp_path):
    """The same groups as the same column gives in a table of the format csv."""
    root = saved(tmp_path / "set", picture_tree)
    for name, split in SPLITS.items():
        if name != "id_train":  # which needs no groups
            replaced(root, split, lambda t: t.add_column("slide", [row % 7 for row in range(len(t))]))
    options = {**OPTIONS, "group_key": "slide", "more": {"again": "train"}}
    splits = load(root, options=options)
    assert (splits.id_train.groups, splits.more["again"].groups) == (None, None)
    lines = ["filepath,label,split,slide"]
    for name in SPLITS:
        found = [file for folder in CLASSES for file in by_number(picture_tree / name / folder)]
        lines += [f"{file},{file.parent.name},{name},{row % 7}" for row, file in enumerate(found)]
    (picture_tree / "all.csv").write_text("\n".join(lines))
    theirs = load(picture_tree, format="csv", options={"file": "all.csv", "group_key": "slide"})
    for name in [*SPLITS][1:]:
        ours, other = splits.parts[name].groups, theirs.parts[name].groups
        assert ours.names == other.names == tuple(map(str, range(7)))
        assert torch.equal(ours.numbers, other.numbers)
    replaced(root, "test", lambda t: t.remove_columns("slide"))
    assert f"{root / 'test'}: no column 'slide'; allowed: image, label, domain" in fault(root, options=options)


def test_an_image_without_a_group(picture_tree, tmp_path):
    root = saved(tmp_path / "set", picture_tree)
    slides = [f"s{row % 4}" if row != 5 else "" for row in range(20)]
    replaced(root, "validation", lambda t: t.add_column("slide", slides))
    said = fault(root, options={**OPTIONS, "group_key": "slide"})
    assert f"{root / 'validation'}, row 5: no group; allowed: one in each row of 'slide'" in said


def test_classes_are_matched_by_name(picture_tree, tmp_path):
    """As sets of fewer classes have numbers of their own."""
    from datasets import ClassLabel

    root = saved(tmp_path / "set", picture_tree)
    swapped = ClassLabel(names=["light_square", "ring", "dark_square"])
    replaced(
        root,
        "ood_val",
        lambda t: (
            t.add_column("y", [2] * 10 + [0] * 10)
            .remove_columns("label")
            .rename_column("y", "label")
            .cast_column("label", swapped)
        ),
    )
    assert load(root).ood_val.labels.tolist() == [0] * 10 + [1] * 10
    replaced(root, "ood_val", lambda t: t.cast_column("label", ClassLabel(names=["lite_square", "a", "dark_square"])))
    text = fault(root)
    known = "allowed: dark_square, light_square; nearest: 'light_square'"
    assert f"{root / 'ood_val'}, row 10: class 'lite_square' unknown to id_train; {known}" in text


@pytest.fixture(params=[1.0, 0.0], ids=["disk", "nowhere"])
def limit(request, monkeypatch) -> float:
    """For sets that memory does not hold."""
    monkeypatch.setattr(decoded, "MEMORY", 0)
    return request.param


def test_sets_that_memory_does_not_hold(picture_tree, tmp_path, limit, monkeypatch):
    root = saved(tmp_path / "set", picture_tree)
    found = load(root, cache_gib=limit)
    assert isinstance(found.id_train.source, Mapped if limit else ImageFiles)
    same(found, load_folder(picture_tree, cache_gib=limit))
    again = pickle.loads(pickle.dumps(found.id_train.source))
    assert torch.equal(again.pixels([3, 1]), found.id_train.source.pixels([3, 1])), "a worker reads the same"
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded once more"))
    load(root, cache_gib=limit)
    replaced(root, "train", lambda t: t.select(list(reversed(range(20)))))
    with pytest.raises(pytest.fail.Exception, match="decoded once more"):
        load(root, cache_gib=limit)


@pytest.mark.parametrize("memory", [2**30, 0])
def test_the_same_picture_in_two_splits(picture_tree, tmp_path, memory, monkeypatch):
    monkeypatch.setattr(decoded, "MEMORY", memory)
    shutil.copy(picture_tree / "id_train/dark_square/4.png", picture_tree / "ood_val/dark_square/4.png")
    root = saved(tmp_path / "set", picture_tree)
    with pytest.raises(DataError) as caught:
        compared(load(root))
    first, second = f"{root / 'train'}, row 4", f"{root / 'ood_val'}, row 4"
    assert f"id_train: 1 picture of ood_val too, the first: {first} is {second}" in str(caught.value)


def test_unreadable_pictures_stop_or_are_skipped_and_counted(picture_tree, tmp_path, capsys):
    (picture_tree / "id_train/dark_square/3.png").write_bytes(b"no picture")
    root = saved(tmp_path / "set", picture_tree)
    assert f"1 of 20 images unreadable; the first: {root / 'train'}, row 3: unreadable image" in fault(root)
    assert load(root, on_unreadable="skip").id_train.counts(2) == [9, 10]
    assert "id_train: 19 pictures; left out: 1 unreadable\n" in capsys.readouterr().err


def with_value(column: str, value):
    """Row 3 with another value."""

    def change(root: Path) -> None:
        def changed(found):
            values = found.select_columns([column])[:][column]
            values[3] = value
            others = found.remove_columns(column).add_column(column, values)
            return others if column == "domain" else others.cast_column(column, found.features[column])

        replaced(root, "validation", changed)

    return change


def without_labels(root: Path) -> None:
    replaced(root, "validation", lambda t: t.rename_column("label", "labels"))


def numbers_as_pictures(root: Path) -> None:
    replaced(root, "validation", lambda t: t.remove_columns("image").add_column("image", list(range(20))))


def labels_with_fractions(root: Path) -> None:
    replaced(root, "validation", lambda t: t.remove_columns("label").add_column("label", [0.5] * 20))


def no_picture(root: Path) -> None:
    def changed(found):
        pictures = found.select_columns(["image"])[:]["image"]
        pictures[3] = None
        return type(found).from_dict({**found[:], "image": pictures}, found.features)

    replaced(root, "validation", changed)


def without_rows(root: Path) -> None:
    replaced(root, "validation", lambda found: found.select([]))


def cut(name: str):
    def change(root: Path) -> None:
        file = root / "validation" / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return change


def gone(name: str):
    return lambda root: (root / "validation" / name).unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_value("label", None), ", row 3: no class; allowed: one in each row of 'label'"),
        (with_value("label", -1), ", row 3: no class; allowed: "),
        (without_rows, ": cannot be read (list index out of range); allowed: whole files of at least one row"),
        (no_picture, ", row 3: no picture; allowed: one in each row of 'image'"),
        (without_labels, ": no column 'label'; allowed: image, labels, domain; nearest: 'labels'"),
        (numbers_as_pictures, ": 'image' is a column of Value('int64'); allowed: pictures, their bytes or their paths"),
        (labels_with_fractions, ", row 0: 0.5 in 'label'; allowed: names or whole numbers"),
        (cut("data-00000-of-00001.arrow"), ": cannot be read ("),
        (cut("state.json"), ": cannot be read ("),
        (gone("data-00000-of-00001.arrow"), ": cannot be read ("),
        (gone("state.json"), ": no such split; allowed: ood_test_dawn, ood_test_dusk, ood_val, test, train"),
    ],
)
def test_every_fault_names_the_table(picture_tree, tmp_path, change, words):
    root = saved(tmp_path / "set", picture_tree)
    change(root)
    said = fault(root)
    assert said.startswith(str(root / "validation")), said
    assert words in said


def test_faults_of_files(picture_tree, tmp_path):
    root = parquet(tmp_path / "set", picture_tree)
    assert f"{root / 'trai'}: no such split; allowed: " in (text := fault(root, options={"id_train": "trai"}))
    assert "; nearest: 'train'" in text
    assert f"{root / 'data'}: files of ood_test_dawn, ood_test_dusk, " in fault(root, options={"id_val": "data"})
    file = root / "data/test-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    assert f"{root / 'test'}: cannot be read (" in fault(root)
    file.unlink()
    assert f"{root / 'test'}: 1 files, of 2 by their names; allowed: all of them" in fault(root)
    for file in root.glob("data/ood_test*"):
        file.unlink()
    assert f"{root}: no split ood_test or ood_test_NAME; allowed: one, or data.options.ood_test" in fault(root)


def test_a_cache_that_cannot_be_written_to(picture_tree, tmp_path, monkeypatch):
    root, file = parquet(tmp_path / "set", picture_tree), tmp_path / "file"
    file.touch()
    monkeypatch.setenv("METAFT_CACHE", str(file / "cache"))
    assert fault(root) == f"METAFT_CACHE: {file} is a file; allowed: a folder, to rewrite tables in"


def test_a_number_beyond_the_names(picture_tree, tmp_path):
    """As another program may write it into a file of the hub."""
    from pyarrow import parquet as files

    root = parquet(tmp_path / "set", picture_tree)
    file = root / "data/validation-00001-of-00002.parquet"
    found = files.read_table(file)
    labels = [*found.column("label").to_pylist()[:-1], 2]
    files.write_table(found.set_column(1, found.schema.field("label"), [labels]), file)
    assert f"{root / 'validation'}, row 19: 2 in 'label'; allowed: 0 to 1" in fault(root)


def test_a_set_of_folders_is_not_one_of_tables(picture_tree):
    text = fault(picture_tree, options={"ood_test": {"dusk": "ood_test/dusk"}})
    assert f"{picture_tree / 'train'}: no such split; allowed: a split that save_to_disk wrote, or files " in text


def test_nothing_of_a_set_is_run_or_fetched(picture_tree, tmp_path, monkeypatch):
    """Neither a script of the set's name, as older versions of the package ran, nor what its card asks for."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network is asked"))
    root = parquet(tmp_path / "set", picture_tree)
    (root / "set.py").write_text("raise SystemExit('run')")
    (root / "README.md").write_text(
        "---\nconfigs: [{config_name: a, data_files: 'https://example.org/a.parquet'}]\n---\n"
    )
    (root / "dataset_infos.json").write_text(json.dumps({"a": 1}))
    same(load(root), load_folder(picture_tree))


def test_names_are_compared_in_the_composed_form(picture_tree, tmp_path):
    from datasets import ClassLabel

    root = saved(tmp_path / "set", picture_tree)
    for split, ours in SPLITS.items():
        name = "cafe\u0301" if split == "ood_val" else "caf\u00e9"
        replaced(root, ours, lambda t, name=name: t.cast_column("label", ClassLabel(names=[name, "bar"])))
    splits = load(root)
    assert splits.classes.names[0] == "caf\u00e9"
    assert splits.ood_val.counts(2) == [10, 10]
