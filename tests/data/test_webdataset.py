"""Pictures in tar shards: the same splits as from folders, and every fault by its shard and member."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import open_clip
import pytest
import torch

from metaft.config.schema import DataConfig
from metaft.data import decoded, decoding, registry
from metaft.data.decoded import ImageFiles
from metaft.data.duplicates import compared
from metaft.data.sets.imagenet import FACTS
from metaft.data.store import Mapped
from metaft.data.table import read_table
from metaft.data.webdataset import expand
from metaft.data.webdataset import shards as shards_of
from metaft.errors import DataError
from tests.data.test_folder import VIEW
from tests.data.test_folder import load as load_folder

SPLITS = ("id_train", "id_val", "ood_val", "id_test", "ood_test/dusk", "ood_test/dawn")
CLASSES = ("dark_square", "light_square")
Files = dict[str, bytes]  # the members of a shard by name


def packed(path: Path, members: Files) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def unpacked(path: Path) -> Files:
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive.getmembers()}


def samples_of(split: Path, labels=(0, 1), form="cls") -> list[Files]:
    """The members of each sample of a split of a picture tree, keys as CLIP_benchmark writes them."""
    files = [(label, file) for name, label in zip(CLASSES, labels, strict=True) for file in by_number(split / name)]
    return [
        {
            f"s{number:07d}.{file.suffix[1:]}": file.read_bytes(),
            f"s{number:07d}.{form}": str(label).encode() if form == "cls" else json.dumps({"label": label}).encode(),
        }
        for number, (label, file) in enumerate(files)
    ]


def by_number(folder: Path) -> list[Path]:
    """In the order of the folder format: by name."""
    return sorted(folder.iterdir())


def write(folder: Path, samples: list[Files], per_shard=7, name="{}.tar") -> None:
    """Shards of a split, and nshards.txt, as clip_benchmark_export_wds leaves them."""
    parts = [samples[first : first + per_shard] for first in range(0, len(samples), per_shard)]
    for number, part in enumerate(parts):
        packed(folder / name.format(number), {k: v for sample in part for k, v in sample.items()})
    (folder / "nshards.txt").write_text(f"{len(parts)}\n")


@pytest.fixture
def shards(picture_tree, tmp_path) -> Path:
    """The picture tree as a data set of CLIP_benchmark, with the splits of metaft."""
    root = tmp_path / "shards"
    for split in SPLITS:
        write(root / split, samples_of(picture_tree / split))
    (root / "classnames.txt").write_text("dark square\nlight square\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n{c}, a tile\n")
    return root


def load(root: Path, **changes):
    return registry.load(DataConfig(**{"format": "webdataset", "root": root, **changes}), 0, VIEW)


def fault(root: Path, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **changes)
    return str(caught.value)


def same(ours, theirs) -> None:
    """Splits with the same pictures and labels in the same order."""
    assert set(ours.parts) == set(theirs.parts)
    for name, split in ours.parts.items():
        assert torch.equal(split.labels, theirs.parts[name].labels)
        rows = range(len(theirs.parts[name]))
        assert torch.equal(split.source.pixels(rows), theirs.parts[name].source.pixels(rows))


def test_shards_give_the_splits_of_their_folders(shards, picture_tree, capsys):
    ours, theirs = load(shards), load_folder(picture_tree)
    same(ours, theirs)
    assert ours.classes.names == theirs.classes.names
    assert ours.classes.templates == ("a photo of a {}.", "{}, a tile")
    assert "id_train: 20 pictures\n" in capsys.readouterr().err
    row = ours.id_train.source.files[13]
    assert str(row) == f"{shards / 'id_train/1.tar'}, member s0000013.png"
    assert row.read() == by_number(picture_tree / "id_train/light_square")[3].read_bytes()


def test_shards_are_read_in_the_order_of_their_numbers(shards, picture_tree):
    shutil.rmtree(shards / "id_train")
    write(shards / "id_train", samples_of(picture_tree / "id_train"), per_shard=1)
    names = [file.shard.path.name for file in load(shards).id_train.source.files]
    assert names == [f"{number}.tar" for number in range(20)]


def test_shards_with_suffixes_in_capitals(shards):
    whole = load(shards)
    for path in list(shards.rglob("*.tar")):
        path.rename(path.with_suffix(".TAR"))
    for path in shards.rglob("nshards.txt"):
        path.unlink()
    same(load(shards), whole)


def test_plain_shards_by_a_pattern(shards, picture_tree, tmp_path):
    """Other names, labels in JSON, class names given, keys in folders, suffixes in capitals, no counts."""
    root = tmp_path / "plain"
    for split in SPLITS:
        renamed = [
            {f"./of/{name.replace('.png', '.PNG')}": content for name, content in sample.items()}
            for sample in samples_of(picture_tree / split, form="json")
        ]
        write(root / split, renamed, name="part-{:03}.tar")
        (root / split / "nshards.txt").unlink()
    options = {"id_train": "id_train/part-{000..002}.tar", "id_test": "id_test/part-{000,001,002}.tar"}
    (tmp_path / "names.txt").write_text("1 = light square\n0 = dark square\n")
    ours = load(root, options=options, classnames=tmp_path / "names.txt")
    same(ours, load(shards))
    assert ours.classes.names == ("dark square", "light square")
    assert "itap of a {}." in ours.classes.templates
    options["id_train"] = "id_train/part-{000..003}.tar"
    text = fault(root, options=options, classnames=tmp_path / "names.txt")
    assert f"1 of 4 shards are not there, the first: {root / 'id_train/part-003.tar'}" in text
    options["id_train"] = "id_train/part-7.tar"
    text = fault(root, options=options, classnames=tmp_path / "names.txt")
    assert f"1 of 1 shards are not there, the first: {root / 'id_train/part-7.tar'}" in text


@pytest.mark.parametrize(
    ("text", "count", "ends"),
    [
        ("{000..009}.tar", 10, ("000.tar", "009.tar")),
        ("a-{8..11}.tar", 4, ("a-8.tar", "a-11.tar")),
        ("{a,b}/{0..1}.tar", 4, ("a/0.tar", "b/1.tar")),
        ("{9..10}.tar", 2, ("9.tar", "10.tar")),
        ("{010..009}.tar", 2, ("009.tar", "010.tar")),
        ("0.tar", 1, ("0.tar", "0.tar")),
        ("a{b}.tar", 1, ("a{b}.tar", "a{b}.tar")),
    ],
)
def test_braces_as_shells_have_them(text, count, ends):
    found = list(expand(text))
    assert (len(found), found[0], found[-1]) == (count, *ends)


def test_the_package_writes_and_reads_the_same(shards, picture_tree):
    """As clip_benchmark_export_wds calls it: a ShardWriter with `s%07d`, raw bytes and a whole number."""
    wds = pytest.importorskip("webdataset")
    shutil.rmtree(shards / "id_train")
    (shards / "id_train").mkdir()
    with wds.ShardWriter(str(shards / "id_train/%d.tar"), maxcount=7, maxsize=1_000_000_000, verbose=0) as sink:
        for number, sample in enumerate(samples_of(picture_tree / "id_train")):
            picture, label = sample.values()
            sink.write({"__key__": f"s{number:07d}", "png": picture, "cls": int(label)})
        count = sink.shard
    (shards / "id_train/nshards.txt").write_text(f"{count}\n")
    theirs = []
    for number in range(count):
        with (shards / f"id_train/{number}.tar").open("rb") as stream:
            members = wds.tariterators.tar_file_expander([{"url": str(number), "stream": stream}])
            theirs += wds.tariterators.group_by_keys(members)
    split = load(shards).id_train
    assert split.labels.tolist() == [int(sample["cls"]) for sample in theirs]
    assert [file.read() for file in split.source.files] == [sample["png"] for sample in theirs]


def test_a_data_set_of_clip_benchmark_for_each_distribution(shards, picture_tree, tmp_path):
    """Numbers mean lines of the classnames.txt of their own set."""
    root = tmp_path / "benchmark"
    for name, split, labels in (("wds_id", "id_train", (0, 1)), ("wds_sketch", "ood_test/dusk", (2, 0))):
        write(root / name / "test", samples_of(picture_tree / split, labels))
    write(root / "wds_id/train", samples_of(picture_tree / "id_test"))
    write(root / "wds_v2/test", samples_of(picture_tree / "ood_val"))
    (root / "wds_id/classnames.txt").write_text("dark square\nlight square\n")
    (root / "wds_sketch/classnames.txt").write_text("light square\nring\ndark square\n")
    options = {"id_train": "wds_id/train", "id_val": None, "ood_val": "wds_v2/test", "id_test": "wds_id/test"}
    options["ood_test"] = {"sketch": "wds_sketch/test"}
    splits = load(root, options=options)
    assert splits.id_train.counts(2) == [9, 9], "a tenth is held out"
    dusk = load(shards).tests["ood_test/dusk"]
    assert torch.equal(splits.tests["ood_test/sketch"].labels, dusk.labels)
    (root / "wds_sketch/classnames.txt").write_text("lite square\nring\ndark square\n")
    text = fault(root, options=options)
    assert f"label 0, 'lite square' in {root / 'wds_sketch/classnames.txt'}, unknown to id_train" in text
    assert "nearest: 'light square'" in text
    options["ood_test"] = {"sketch": "wds_sketch"}
    assert f"{root / 'wds_sketch'}: no shards there but in test; allowed: " in fault(root, options=options)


def test_validation_in_named_domains(shards):
    whole = load(shards).ood_val
    for number, domain in enumerate(("noon", "haze", "rain")):
        (shards / "ood_val" / domain).mkdir()
        (shards / f"ood_val/{number}.tar").rename(shards / f"ood_val/{domain}/0.tar")
    (shards / "ood_val/nshards.txt").unlink()
    split = load(shards).ood_val
    assert split.domains.names == ("haze", "noon", "rain")
    assert split.domains.numbers.tolist() == [0] * 7 + [1] * 7 + [2] * 6
    assert torch.equal(split.source.pixels(range(7)), whole.source.pixels(range(7, 14)))


def test_one_unnamed_ood_test_and_further_sources(shards):
    (shards / "ood_test/dusk").rename(shards / "dusk")
    shutil.rmtree(shards / "ood_test")
    (shards / "dusk").rename(shards / "ood_test")
    assert set(load(shards).tests) == {"id_test", "ood_test/all"}
    (shards / "ood_test").rename(shards / "dusk")
    options = {"more": {"dusk": "dusk"}, "ood_test": {"t": "id_val"}, "id_val": None}
    assert list(load(shards, options=options).search_data.sources) == ["ood_val", "dusk"]
    assert f"{shards / 'ood_test'}: no such folder" in fault(shards)


def test_what_is_no_data_is_counted(shards, capsys):
    path = shards / "id_train/0.tar"
    extra = {"._s0000000.png": b"mac", "__MACOSX/s0000000.png": b"mac", "s0000000.txt": b"a tile", "README": b""}
    packed(path, {**unpacked(path), **extra, "s0000001.json": b"{}", "s0000001.seg.png": b"mask"})
    (shards / "id_train/._0.tar").write_bytes(b"mac")
    (shards / "id_train/log.txt").write_text("of the split")
    load(shards)
    assert (
        "id_train: 20 pictures; left out: 1 .json, 1 .seg.png, 2 .txt, 3 hidden, 1 without a suffix\n"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["0.tar.bak", "0.tar.old", "3.tar.part", "3.tar~"])
def test_copies_and_half_downloads_are_no_shards(shards, capsys, name):
    (shards / "id_train" / name).write_bytes((shards / "id_train/0.tar").read_bytes())
    assert len(load(shards).id_train) == 20
    assert f"id_train: 20 pictures; left out: 1 {Path(name).suffix}\n" in capsys.readouterr().err


def test_a_count_of_shards_with_a_byte_order_mark(shards):
    count = shards / "id_train/nshards.txt"
    count.write_text(f"\ufeff{count.read_text()}")
    assert len(load(shards).id_train) == 20
    count.write_text("0")
    assert f"{count}: '0'; allowed: the number of shards, at least 1" in fault(shards)


def with_groups(samples: list[Files]) -> list[Files]:
    """And KEY.json beside each picture with a camera in it, and with the label where that is there."""
    found = []
    for number, sample in enumerate(samples):
        name = f"{next(iter(sample)).split('.')[0]}.json"
        own = json.loads(sample.get(name, b"{}"))
        found.append({**sample, name: json.dumps({**own, "camera": number % 3}).encode()})
    return found


def test_groups_in_json(shards, picture_tree, capsys):
    for split in SPLITS[1:]:  # but for id_train, which needs none
        write(shards / split, with_groups(samples_of(picture_tree / split)))
    before = load(shards)
    assert "id_val: 20 pictures; left out: 20 .json\n" in capsys.readouterr().err
    options = {"group_key": "camera", "more": {"again": "id_train"}}
    splits = load(shards, options=options)
    assert "id_val: 20 pictures\n" in capsys.readouterr().err
    assert (splits.id_train.groups, splits.more["again"].groups, before.id_val.groups) == (None, None, None)
    for split in (splits.id_val, splits.ood_val, *splits.tests.values()):
        assert split.groups.names == ("0", "1", "2")
        assert split.groups.numbers.tolist() == [number % 3 for number in range(len(split))]
    write(shards / "id_val", with_groups(samples_of(picture_tree / "id_val", form="json")))
    both = load(shards, options=options)
    same(both, splits)
    assert torch.equal(both.id_val.groups.numbers, splits.id_val.groups.numbers)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "s0000002.png: no .json beside it; allowed: one with data.options.group_key, 'camera'"),
        (b'{"camra": 1}', "s0000002.json: no camera; allowed: one, or data.options.group_key"),
        (b'{"camera": 1.5}', "s0000002.json: the group 1.5 under 'camera'; allowed: a name or a whole number"),
        (b'{"camera": ""}', "s0000002.json: the group '' under 'camera'; allowed: a name"),
        (b"{", "s0000002.json: no JSON ("),
    ],
)
def test_a_picture_without_a_group(shards, picture_tree, content, words):
    write(shards / "id_val", with_groups(samples_of(picture_tree / "id_val")))
    changed(s0000002__json=content)(shards / "id_val/0.tar")
    assert f"{shards / 'id_val/0.tar'}, member {words}" in fault(shards, options={"group_key": "camera"})


def test_unreadable_members_stop_or_are_skipped_and_counted(shards, capsys):
    path = shards / "id_train/0.tar"
    packed(path, {**unpacked(path), "s0000003.png": b"no picture"})
    assert f"1 of 20 images unreadable; the first: {path}, member s0000003.png: unreadable image" in fault(shards)
    assert load(shards, on_unreadable="skip").id_train.counts(2) == [9, 10]
    assert "id_train: 19 pictures; left out: 1 unreadable\n" in capsys.readouterr().err


@pytest.fixture(params=[1.0, 0.0], ids=["disk", "nowhere"])
def limit(request, tmp_path, monkeypatch) -> float:
    """For sets that memory does not hold."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "MEMORY", 0)
    return request.param


def test_sets_that_memory_does_not_hold(shards, picture_tree, limit, monkeypatch):
    found = load(shards, cache_gib=limit)
    assert isinstance(found.id_train.source, Mapped if limit else ImageFiles)
    same(found, load_folder(picture_tree, cache_gib=limit))
    again = pickle.loads(pickle.dumps(found.id_train.source))
    assert torch.equal(again.pixels([3, 1]), found.id_train.source.pixels([3, 1])), "a worker reads the same"
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded once more"))
    load(shards, cache_gib=limit)
    path = shards / "id_train/2.tar"
    packed(path, dict(reversed(unpacked(path).items())))
    with pytest.raises(pytest.fail.Exception, match="decoded once more"):
        load(shards, cache_gib=limit)
    monkeypatch.setattr(decoding, "decode", decode)
    assert load(shards, cache_gib=limit).id_train.labels.tolist() == [0] * 10 + [1] * 10


def test_a_shard_that_is_cut_later_is_named(shards, limit):
    split = load(shards, cache_gib=limit).id_train
    path = shards / "id_train/2.tar"
    path.write_bytes(path.read_bytes()[:2000])
    if limit:
        assert split.source.pixels([19]).shape == (1, 3, 32, 32), "it was read before"
    else:
        with pytest.raises(DataError, match=f"{path}, member s0000019.png: unreadable image .the shard ends .* early"):
            split.source.pixels([19])


@pytest.mark.parametrize("way", ["pixels", "members"])
def test_the_same_picture_in_two_splits(shards, picture_tree, way, tmp_path, monkeypatch):
    if way == "members":
        monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(decoded, "MEMORY", 0)
    compared(load(shards))
    path = shards / "ood_val/2.tar"
    picture = by_number(picture_tree / "id_train/dark_square")[4].read_bytes()
    packed(path, {**unpacked(path), "z.png": picture, "z.cls": b"0"})
    with pytest.raises(DataError) as caught:
        compared(load(shards))
    first, second = f"{shards / 'id_train/0.tar'}, member s0000004.png", f"{path}, member z.png"
    assert f"id_train: 1 picture of ood_val too, the first: {first} is {second}" in str(caught.value)


def cut(part: float):
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def cut_between_members(path: Path) -> None:
    """At the end of a member, where Python's reader sees the end of the archive."""
    with tarfile.open(path) as archive:
        fourth = archive.getmembers()[4]
    path.write_bytes(path.read_bytes()[: fourth.offset])


def cut_in_a_header(path: Path) -> None:
    with tarfile.open(path) as archive:
        fourth = archive.getmembers()[4]
    path.write_bytes(path.read_bytes()[: fourth.offset + 100])


def damaged_header(path: Path) -> None:
    with tarfile.open(path) as archive:
        fourth = archive.getmembers()[4]
    content = bytearray(path.read_bytes())
    content[fourth.offset : fourth.offset + 40] = b"\xff" * 40
    path.write_bytes(content)


def twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def written(content: bytes):
    return lambda path: path.write_bytes(content)


def zipped(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def changed(**members: bytes | None):
    """A shard in which members are others; names have a dot in place of two underscores, and None leaves one out."""

    def change(path: Path) -> None:
        others = {name.replace("__", "."): content for name, content in members.items()}
        packed(path, {name: c for name, c in {**unpacked(path), **others}.items() if c is not None})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut(0.5), "no tar archive that can be read (unexpected end of data)"),
        (cut_between_members, "the shard ends early, after member s0000001.cls; allowed: a whole archive"),
        (cut_in_a_header, "the shard ends early, after member s0000001.cls"),
        (damaged_header, "damaged, after member s0000001.cls"),
        (twice, "more data behind the archive's end"),
        (written(b""), "no tar archive that can be read (empty file)"),
        (written(b"no archive" * 99), "no tar archive that can be read"),
        (written(bytes(10240)), "no pictures, but nothing at all; allowed: members KEY.jpg and KEY.cls"),
        (zipped, "compressed with gzip; allowed: a plain tar archive"),
        (written(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
        (changed(s0000002__png=None), "no picture under the key 's0000002', only s0000002.cls; allowed: "),
        (changed(s0000002__cls=None), "no label (.cls or .json) under the key 's0000002', only s0000002.png"),
        (changed(s0000002__jpg=b""), "s0000002.png and s0000002.jpg under one key"),
        (changed(s0000002__cls=b"2"), ", member s0000002.png: label 2; allowed: 0 to 1, the lines of "),
        (changed(s0000002__cls=b"-1"), ", member s0000002.cls: the label '-1'; allowed: a class number from 0"),
        (changed(s0000002__cls=b"dark"), ", member s0000002.cls: the label 'dark'"),
        (changed(s0000002__cls=b"\xff\x00"), ", member s0000002.cls: the label "),
        (changed(s0000002__cls=None, s0000002__json=b"{"), ", member s0000002.json: no JSON ("),
        (changed(s0000002__cls=None, s0000002__json=b'{"class": 1}'), ", member s0000002.json: no label or cls; "),
        (changed(s0000002__cls=None, s0000002__json=b'{"cls": "1"}'), "the label '1' under 'cls'; allowed: a class"),
        (changed(s0000002__cls=None, s0000002__json=b"[1]"), ", member s0000002.json: no label or cls; "),
    ],
)
def test_every_fault_names_the_shard(shards, change, words):
    change(shards / "id_val/0.tar")
    said = fault(shards)
    assert said.startswith(f"{shards / 'id_val/0.tar'}"), said
    assert words in said


def test_a_label_and_a_picture_may_lie_apart(shards):
    before = load(shards)
    path = shards / "id_val/0.tar"
    packed(path, dict(sorted(unpacked(path).items(), key=lambda item: item[0].endswith(".cls"))))
    same(load(shards), before)


@pytest.mark.parametrize("text", ["dark square\n\nlight square\n", "dark square\nlight square\n\n\n"])
def test_lines_are_numbers(shards, text):
    (shards / "classnames.txt").write_text(text)
    if "\n\nl" in text:
        for path in shards.rglob("nshards.txt"):
            path.unlink()  # with which it would be a published set
        assert fault(shards).startswith(f"{shards / 'classnames.txt'}, line 2: empty; allowed: ")
    else:
        assert load(shards).classes.names == ("dark square", "light square")


def test_names_of_a_published_set_may_be_alike_or_empty(shards, capsys):
    """As CLIP_benchmark's ImageNet has 'missile' twice, and its clevr_closest_object_distance no name for a class."""
    (shards / "classnames.txt").write_text("missile\nmissile\n\nsquare\n")
    splits = load(shards)
    assert splits.classes.names == ("missile", "missile (1)", "class 2", "square")
    assert splits.classes.spoken == ("missile", "missile", "", "square")
    assert splits.id_train.counts(4) == [10, 10, 0, 0]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "missile" in line]
    assert "class 1 is 'missile', as class 0 is, class 2 has no name: as they are given away" in line
    for path in shards.rglob("nshards.txt"):
        path.unlink()
    (shards / "classnames.txt").write_text("missile\nmissile\n")
    assert "the name of class 1 is 'missile', as that of 0; allowed: a name of its own" in fault(shards)


def test_a_name_of_two_classes_is_matched_by_label_alone(shards, picture_tree, tmp_path):
    """Equal lists have equal labels; of others it cannot be told which class is meant."""
    root = tmp_path / "benchmark"
    for name in ("wds_id", "wds_sketch", "wds_r"):
        write(root / name / "test", samples_of(picture_tree / "id_test"))
        (root / name / "classnames.txt").write_text("missile\nmissile\nring\n")
    write(root / "wds_id/train", samples_of(picture_tree / "id_train"))
    options = {"id_train": "wds_id/train", "id_val": None, "ood_val": "wds_r/test", "id_test": "wds_id/test"}
    options["ood_test"] = {"sketch": "wds_sketch/test"}
    splits = load(root, options=options)
    assert splits.tests["ood_test/sketch"].counts(3) == [10, 10, 0]
    (root / "wds_sketch/classnames.txt").write_text("ring\nmissile\n")
    text = fault(root, options=options)
    assert "label 0, 'ring'" not in text
    assert "label 1, 'missile', which names two classes in " in text
    assert "allowed: a name of one class, or all the names of id_train in its order" in text


def imagenet_names(subset: str = "") -> list[str]:
    """The class names that CLIP_benchmark writes for ImageNet, or for its part -R or -A."""
    rows = [line.cells for line in read_table(FACTS, ("subsets",))]
    names = enumerate(open_clip.IMAGENET_CLASSNAMES)
    return [name for label, name in names if not subset or subset in rows[label]["subsets"].split()]


@pytest.mark.parametrize("subset", ["r", "a"])
def test_parts_of_imagenet_are_matched_by_their_published_lists(shards, picture_tree, tmp_path, subset):
    """ImageNet has two classes `missile`, of which -R has the first, n03773504."""
    root, part = tmp_path / "benchmark", imagenet_names(subset)
    name = {"r": "missile", "a": "sunglasses"}[subset]
    assert imagenet_names().count(name) == 2
    twice = part.index(name) if name in part else len(part) - 1
    of_imagenet = [label for label, row in enumerate(read_table(FACTS, ("subsets",))) if subset in row.cells["subsets"]]
    labels = (of_imagenet[twice], of_imagenet[0])
    write(root / "wds_id/train", samples_of(picture_tree / "id_train", labels=labels))
    write(root / "wds_id/test", samples_of(picture_tree / "id_test", labels=labels))
    write(root / "wds_part/test", samples_of(picture_tree / "ood_val", labels=(twice, 0)))
    (root / "wds_id/classnames.txt").write_text("\n".join([*imagenet_names(), ""]))
    (root / "wds_part/classnames.txt").write_text("\n".join([*part, ""]))
    options = {"id_train": "wds_id/train", "id_val": None, "ood_val": "wds_part/test", "id_test": "wds_id/test"}
    splits = load(root, options={**options, "ood_test": {"part": "wds_part/test"}})
    assert {*splits.ood_val.labels.tolist()} == {*labels}
    if subset == "r":
        assert of_imagenet[twice] == 657
        (root / "wds_part/classnames.txt").write_text("\n".join([part[0], part[2], part[1], *part[3:], ""]))
        assert "which names two classes in " in fault(root, options={**options, "ood_test": {"part": "wds_part/test"}})


def test_templates_of_a_published_set_are_as_they_are(shards):
    """Of a folder as CLIP_benchmark writes it; other lines are those of somebody's own file."""
    lines = ["a {c} beside a {c}", '"{c}" in quotes', "{c}"]
    (shards / "zeroshot_classification_templates.txt").write_text("\n".join([*lines, ""]))
    classes = load(shards).classes
    assert [template.format("cat") for template in classes.templates] == [line.replace("{c}", "cat") for line in lines]
    for line in ("no place", "{c} and {d}", "lambda c: f'a {c}'", '"a {c}",'):
        (shards / "zeroshot_classification_templates.txt").write_text(f"a {{c}}\n{line}\n")
        assert f"line 2: {line!r}" in fault(shards)
    (shards / "zeroshot_classification_templates.txt").write_text("a {c} beside a {c}\n")
    for path in shards.rglob("nshards.txt"):
        path.unlink()
    assert "line 1: 'a {c} beside a {c}'; allowed: a template with one {}" in fault(shards)


def test_names_that_a_link_does_not_lead_to_are_not_passed_over(shards):
    own = shards / "id_train" / "classnames.txt"
    own.symlink_to("nowhere")
    assert fault(shards).startswith(f"class names: cannot read {own} (")
    own.unlink()
    templates = shards / "zeroshot_classification_templates.txt"
    templates.unlink()
    templates.symlink_to("nowhere")
    assert fault(shards).startswith(f"data.templates: cannot read {templates} (")


def drop_the_last(folder: Path) -> None:
    (folder / "2.tar").unlink()


def count(text: str):
    return lambda folder: (folder / "nshards.txt").write_text(text)


def lead_nowhere(folder: Path) -> None:
    (folder / "nshards.txt").unlink()
    (folder / "nshards.txt").symlink_to(folder / "gone.txt")


def unpack_one(folder: Path) -> None:
    for name, content in unpacked(folder / "0.tar").items():
        (folder / name).write_bytes(content)


def no_shards(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_the_last, "nshards.txt: 3 shards, 2 found: 2.tar is not there; allowed: 0.tar to 2.tar, all of them"),
        (count("2"), "nshards.txt: 2 shards, 3 found: 2.tar is there too"),
        (lead_nowhere, "nshards.txt: cannot be read ([Errno 2] No such file or directory"),
        (count("many\n"), "nshards.txt: 'many'; allowed: the number of shards"),
        (
            lambda folder: (folder / "3.tar.zip").write_bytes(b"PK\x03\x04"),
            "nshards.txt: 3 shards, 4 found: 3.tar.zip is",
        ),
        (unpack_one, "s0000000.cls: beside shards, as of one that was unpacked"),
        (no_shards, ": no shards there; allowed: shards (*.tar): their folder, "),
        (lambda folder: (folder / "2.tar").rename(folder / "2.tar.gz"), "nshards.txt: 3 shards, 3 found: 2.tar is not"),
        (lambda folder: (folder.parent / "dataset_type.txt").write_text("retrieval"), "dataset_type.txt: retrieval; "),
        (lambda folder: (folder.parent / "classnames.txt").unlink(), ": no classnames.txt there or above; allowed: "),
        (lambda folder: folder.rename(folder.with_name("id_vall")), "id_val: no such folder (nearest: 'id_vall')"),
    ],
)
def test_every_fault_names_the_folder(shards, change, words):
    change(shards / "id_val")
    said = fault(shards)
    assert said.startswith(str(shards)), said
    assert words in said


def test_settings_without_a_root():
    (nowhere,) = registry.faults(DataConfig(format="webdataset"))
    assert (nowhere.field, nowhere.found) == ("data.root", "nothing given")
    (odd,) = registry.faults(DataConfig(format="webdataset", root="a", options={"nshards": 3}))
    assert (odd.field, odd.found) == ("data.options.nshards", "unknown key")


@pytest.mark.parametrize("text", ["{0..9999999999999}.tar", "{00..99}" * 5, "{a,b}" * 40, "/".join(["{a,b}" * 40] * 8)])
def test_ranges_beyond_any_set_are_refused(shards, text):
    with pytest.raises(DataError, match="more than 100,000 shards"):
        shards_of(shards / text)


@pytest.mark.parametrize("content", ["[" * 10**5, '{"label": ' + "9" * 5000 + "}"])
def test_json_that_no_reader_holds(shards, content):
    changed(s0000002__cls=None, s0000002__json=content.encode())(shards / "id_train/0.tar")
    with pytest.raises(DataError, match="no JSON"):
        load(shards)


def test_a_pipe_is_no_shard(shards):
    (shards / "id_train/0.tar").unlink()
    os.mkfifo(shards / "id_train/0.tar")
    with pytest.raises(DataError, match="no regular file"):
        load(shards)
