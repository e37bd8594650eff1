"""A person's own pictures: what is read, and what each fault is answered."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.clip.load import image_view
from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.classes import Classes
from metaft.errors import DataError

PREPROCESS = {"size": (32, 32), "mode": "RGB", "mean": (0.5,) * 3, "std": (0.25,) * 3}
VIEW = image_view({**PREPROCESS, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0})


def load(root: Path, seed: int = 0, **changes):
    settings = {"format": "folder", "root": root, **changes}
    return registry.load(DataConfig(**settings), seed, VIEW)


def test_a_tree_is_read(picture_tree):
    splits = load(picture_tree)
    assert splits.classes.names == ("dark square", "light square")
    assert "itap of a {}." in splits.classes.templates
    assert set(splits.tests) == {"id_test", "ood_test/dusk", "ood_test/dawn"}
    assert splits.id_train.counts(2) == [10, 10]
    images = splits.id_train.batch(torch.arange(20)).images
    assert images.shape == (20, 3, 32, 32)
    assert images[:10].mean() < images[10:].mean()


def test_pixels_are_those_of_open_clip(picture_tree):
    import open_clip
    from PIL import Image

    reference = open_clip.image_transform(32, is_train=False, mean=(0.5,) * 3, std=(0.25,) * 3)
    split = load(picture_tree).id_train
    first = sorted((picture_tree / "id_train" / "dark_square").iterdir())[0]
    torch.testing.assert_close(split.batch(torch.tensor([0])).images[0], reference(Image.open(first)))


def test_explicit_paths_and_a_held_out_part(picture_tree):
    options = {"id_val": None, "ood_val": "ood_test/dusk", "ood_test": {"morning": str(picture_tree / "ood_test/dawn")}}
    splits = load(picture_tree, options=options)
    assert splits.id_train.counts(2) == [9, 9]
    assert splits.id_val.counts(2) == [1, 1]
    assert set(splits.tests) == {"id_test", "ood_test/morning"}


def moved(root: Path, domain: str, *names: str) -> None:
    """Move class folders of ood_val into a domain."""
    (root / "ood_val" / domain).mkdir()
    for name in names:
        (root / "ood_val" / name).rename(root / "ood_val" / domain / name)


def test_validation_in_named_domains(picture_tree):
    flat = load(picture_tree).ood_val
    assert flat.domains is None
    moved(picture_tree, "noon", "dark_square")
    moved(picture_tree, "haze", "light_square")
    split = load(picture_tree).ood_val
    assert (split.name, split.domains.names) == ("ood_val", ("haze", "noon")), "a domain may have one class"
    assert split.domains.numbers.tolist() == [0] * 10 + [1] * 10
    assert split.labels.tolist() == [1] * 10 + [0] * 10
    assert torch.equal(split.source.pixels(range(20)).roll(10, 0), flat.source.pixels(range(20)))
    (picture_tree / "ood_val/haze/light_square").rename(picture_tree / "ood_val/haze/lite_square")
    assert "ood_val/haze: " in (text := fault(picture_tree))
    assert "lite_square: class unknown to id_train" in text


def test_tests_in_named_domains(picture_tree):
    """So that one test has a worst domain, and results are told by domain."""
    flat = load(picture_tree).tests["ood_test/dusk"]
    for domain, name in (("site_10", "dark_square"), ("site_9", "light_square")):
        (picture_tree / "ood_test/dusk" / domain).mkdir()
        (picture_tree / "ood_test/dusk" / name).rename(picture_tree / "ood_test/dusk" / domain / name)
    tests = load(picture_tree).tests
    split, n = tests["ood_test/dusk"], len(flat) // 2
    assert set(tests) == {"id_test", "ood_test/dusk", "ood_test/dawn"}
    assert split.domains.names == ("site_10", "site_9")
    assert split.domains.numbers.tolist() == split.labels.tolist() == [0] * n + [1] * n
    assert torch.equal(split.source.pixels(range(2 * n)), flat.source.pixels(range(2 * n)))
    assert tests["ood_test/dawn"].domains is None


@pytest.mark.parametrize("inner", ["light_square", "monday/light_square", "light_square/monday"])
def test_a_class_folder_with_folders_of_other_classes_names(picture_tree, inner):
    """As where a picture was moved into the wrong folder."""
    for split in ("id_train", "ood_val", "ood_test/dusk"):
        folder = picture_tree / split / "dark_square"
        place = folder / inner
        place.mkdir(parents=True)
        (folder / "3.png").rename(place / "moved.png")
        said = fault(picture_tree)
        assert said.startswith(f"{place}: 'light_square' is a class too, and here in the folder of the class 'dark_sq")
        (place / "moved.png").unlink()


def test_a_test_or_domain_with_the_name_of_a_class(picture_tree):
    (picture_tree / "ood_test/dusk").rename(picture_tree / "ood_test/dark_square")
    assert set(load(picture_tree).tests) == {"id_test", "ood_test/dark_square", "ood_test/dawn"}, "beyond doubt"
    (picture_tree / "ood_test/dawn").rename(picture_tree / "dawn")
    assert "ood_test/dark_square/light_square: 'light_square' is a class too" in fault(picture_tree)
    (picture_tree / "ood_test/dark_square").rename(picture_tree / "ood_test/dusk")
    (picture_tree / "ood_val").rename(picture_tree / "dark_square")
    (picture_tree / "ood_val").mkdir()
    (picture_tree / "dark_square").rename(picture_tree / "ood_val/dark_square")
    assert "ood_val/dark_square/light_square: 'light_square' is a class too" in fault(picture_tree)


def test_a_class_folder_within_one_of_its_own_name(picture_tree):
    """As where an archive was unpacked into a folder of its name."""
    (picture_tree / "ood_val/dark_square").rename(picture_tree / "inner")
    (picture_tree / "ood_val/dark_square").mkdir()
    (picture_tree / "inner").rename(picture_tree / "ood_val/dark_square/dark_square")
    assert load(picture_tree).ood_val.counts(2) == [10, 10]


def test_a_class_beside_domains(picture_tree):
    moved(picture_tree, "noon", "dark_square")
    assert "light_square: no class folders" in fault(picture_tree)


def test_a_class_may_hold_folders(picture_tree):
    (picture_tree / "ood_val/dark_square").rename(picture_tree / "inner")
    (picture_tree / "ood_val/dark_square").mkdir()
    (picture_tree / "inner").rename(picture_tree / "ood_val/dark_square/monday")
    split = load(picture_tree).ood_val
    assert (split.domains, split.counts(2)) == (None, [10, 10])


def test_further_sources(picture_tree):
    splits = load(picture_tree, options={"more": {"dusk": "ood_test/dusk"}, "ood_test": {"dawn": "ood_test/dawn"}})
    assert list(splits.search_data.sources) == ["ood_val", "dusk"]
    assert splits.more["dusk"].name == "more/dusk"
    assert splits.more["dusk"].counts(2) == [10, 10]
    (picture_tree / "ood_test/dusk/dark_square").rename(picture_tree / "ood_test/dusk/dark_circle")
    text = fault(picture_tree, options={"more": {"dusk": "ood_test/dusk"}, "ood_test": {"dawn": "ood_test/dawn"}})
    assert text.startswith("more/dusk: ")
    assert "dark_circle: class unknown to id_train; allowed: dark_square, light_square; nearest: 'dark_square'" in text


@pytest.mark.parametrize("name", ["id_train", "ood_val", "Dusk", "dusk/1", ""])
def test_names_of_further_sources(picture_tree, name):
    data = DataConfig(format="folder", root=picture_tree, options={"more": {"dusk": "a", name: "b"}})
    (odd,) = registry.faults(data)
    assert odd.field == "data.options.more"
    assert odd.allowed.startswith("names of small letters, digits and _")
    assert odd.allowed.endswith(f"not {name!r}")


def test_one_unnamed_ood_test(picture_tree):
    for name in ("dark_square", "light_square"):
        (picture_tree / "ood_test/dusk" / name).rename(picture_tree / "ood_test" / name)
    (picture_tree / "ood_test/dusk").rmdir()
    for name in ("dark_square", "light_square"):
        for image in (picture_tree / "ood_test/dawn" / name).iterdir():
            image.unlink()
        (picture_tree / "ood_test/dawn" / name).rmdir()
    (picture_tree / "ood_test/dawn").rmdir()
    assert set(load(picture_tree).tests) == {"id_test", "ood_test/all"}


@pytest.mark.parametrize("text", ["night\nday\n", "light_square = day\ndark_square=night\n"])
def test_class_names_from_a_file(picture_tree, text):
    (picture_tree / "classnames.txt").write_text(text)
    (picture_tree / "t.txt").write_text("a {} tile.\n")
    classes = load(picture_tree, templates=str(picture_tree / "t.txt")).classes
    assert (classes.names, classes.templates) == (("night", "day"), ("a {} tile.",))


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_class_names_that_are_there_but_cannot_be_read_are_not_passed_over(picture_tree, kind):
    path = picture_tree / "classnames.txt"
    {"link": lambda: path.symlink_to("nowhere"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()
    assert fault(picture_tree).startswith(f"data.classnames: cannot read {path} (")


def fault(root: Path, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **changes)
    return str(caught.value)


def test_missing_folders(picture_tree):
    assert "'pictures'" in (text := fault(picture_tree.parent / "picturs"))
    assert text.startswith("data.root: ")
    (picture_tree / "id_val").rename(picture_tree / "id_vall")
    text = fault(picture_tree)
    assert str(picture_tree / "id_val") in text
    assert "'id_vall'" in text
    assert "data.options.id_val=null, which holds out a tenth of id_train" in text
    (picture_tree / "id_vall").rename(picture_tree / "elsewhere")
    assert "nearest" not in fault(picture_tree), "another split is not meant"


def test_what_lies_in_a_folders_place_is_named(picture_tree, tmp_path):
    place, packed = picture_tree / "id_val", tmp_path / "pictures.zip"
    shutil.rmtree(place)
    place.symlink_to("nowhere")
    assert fault(picture_tree).startswith(f"{place}: no folder, but a link to 'nowhere', where nothing can be found; ")
    place.unlink()
    place.write_text("")
    assert fault(picture_tree).startswith(f"{place}: no folder, but a file; allowed: ")
    packed.write_bytes(b"PK\3\4")
    assert fault(packed).startswith(f"data.root: {packed}: no folder, but a file (unpack it first); allowed: ")


def test_other_names_of_splits_are_told_what_is_wanted(picture_tree):
    (picture_tree / "id_train").rename(picture_tree / "train")
    text = fault(picture_tree)
    assert f"{picture_tree / 'id_train'}: no such folder (nearest: 'train')" in text
    assert (
        f"{picture_tree} holds id_test, id_val, ood_test, ood_val, train; allowed: id_train/CLASS/*.jpg, and so" in text
    )
    assert "in data.options" in text


def test_an_empty_class(picture_tree):
    for image in (picture_tree / "ood_val/dark_square").iterdir():
        image.unlink()
    assert "no images in class dark_square" in fault(picture_tree)


def test_unreadable_images_stop_or_are_skipped_and_counted(picture_tree, capsys):
    bad = [picture_tree / "id_train/dark_square" / name for name in ("3.png", "4.png")]
    bad[0].write_bytes(b"no picture")
    bad[1].write_bytes(bad[1].read_bytes()[:200])
    text = fault(picture_tree)
    assert "2 of 20 images unreadable" in text
    assert str(bad[0]) in text
    splits = load(picture_tree, on_unreadable="skip")
    assert splits.id_train.counts(2) == [8, 10]
    told = capsys.readouterr().err
    assert all(str(path) in told for path in bad)
    assert "on_unreadable" not in told, "which is set"
    assert "id_train: 18 pictures; left out: 2 unreadable\n" in told


def test_files_can_be_tried_when_they_are_used(picture_tree):
    bad = sorted((picture_tree / "id_train" / "dark_square").iterdir())[1]
    bad.write_bytes(b"")
    split = load(picture_tree, on_unreadable="late").id_train
    assert split.counts(2) == [10, 10]
    assert torch.equal(
        split.source.pixels([0, 19]), load(picture_tree, on_unreadable="skip").id_train.source.pixels([0, 18])
    )
    with pytest.raises(DataError, match=f"{bad}: unreadable image"):
        split.source.pixels([0, 1])


def test_few_shots(picture_tree, capsys):
    first, again, other = (
        load(picture_tree, shots=3, options={"id_val": None}, seed=seed).id_train for seed in (0, 0, 1)
    )
    assert first.counts(2) == [3, 3]
    assert torch.equal(first.source.pixels(range(6)), again.source.pixels(range(6)))
    assert not torch.equal(first.source.pixels(range(6)), other.source.pixels(range(6)))
    assert "fewer" not in capsys.readouterr().err
    assert load(picture_tree, shots=50).id_train.counts(2) == [10, 10]
    assert "id_train: 2 classes have fewer than 50 images, the smallest 10" in capsys.readouterr().err


def test_a_class_that_skipping_would_lose_is_an_error(picture_tree):
    for split in ("id_train", "ood_test/dusk"):
        for image in (picture_tree / split / "dark_square").iterdir():
            image.write_bytes(b"")
        text = fault(picture_tree, on_unreadable="skip")
        assert f"{picture_tree / split}: no image of class dark_square is readable" in text
        for image in (picture_tree / split / "dark_square").iterdir():
            image.write_bytes((picture_tree / "id_train/light_square" / image.name).read_bytes())


def test_a_line_a_split_says_what_was_read(picture_tree, capsys):
    train = picture_tree / "id_train"
    (train / "notes.txt").write_text("of the split")
    (train / "dark_square/notes.txt").write_text("of the class")
    (train / "dark_square/.DS_Store").write_bytes(b"Bud1")
    (train / "__MACOSX").mkdir()
    (train / "light_square/gone.png").symlink_to("nowhere")
    (train / "light_square/again.png").symlink_to("3.png")
    Image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(train / "light_square/clear.png")
    load(picture_tree, on_unreadable="skip", ground="black")
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("id_train")] == [
        "id_train: 21 pictures; left out: 1 .txt, 2 hidden, 1 in no class folder, 1 linked twice, 1 unreadable; "
        "1 transparent, on black (data.ground)"
    ]
    one_colour = f"of one colour, the first: {train / 'light_square/clear.png'}"
    assert [line for line in told if "of one colour" in line] == [
        f"warning: id_train: 1 of 22 pictures are {one_colour}"
    ]
    assert [line for line in told if line.startswith("id_val")] == ["id_val: 20 pictures"]


def test_raw_files_and_frames_are_told_of(picture_tree, capsys):
    """Beside JPEGs cameras leave raw files; of a film the first frame alone is read."""
    train = picture_tree / "id_train" / "dark_square"
    frames = [Image.new("RGB", (40, 48), (i, 90, 200 - i)) for i in range(3)]
    frames[0].save(train / "preview.tif")
    (train / "preview.tif").rename(train / "DSC_01.NEF")
    frames[0].save(train / "film.gif", save_all=True, append_images=frames[1:])
    load(picture_tree)
    told = "id_train: 21 pictures; left out: 1 .nef (raw of a camera, to be developed first); "
    assert f"{told}1 of several frames, of which the first is read\n" in capsys.readouterr().err


COPIES = ("3.png~", "3.png.bak", "3.png.1", "#3.png#", "9.PNG.part", "9.jpg.crdownload", "3.old", "9.png.tmp")


@pytest.mark.parametrize("name", COPIES)
def test_backups_and_half_downloads_are_no_pictures(picture_tree, capsys, name):
    folder = picture_tree / "id_train/dark_square"
    (folder / name).write_bytes((folder / "3.png").read_bytes())
    assert len(load(picture_tree).id_train) == 20
    assert f"id_train: 20 pictures; left out: 1 {Path(name.lower()).suffix}\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["scan.1", "v1.2.png", "old.png", "#1.png", "3~.png", "scan.left"])
def test_other_names_of_pictures_are_as_they_were(picture_tree, name):
    folder = picture_tree / "id_train/dark_square"
    (folder / name).write_bytes((folder / "3.png").read_bytes())
    assert len(load(picture_tree).id_train) == 21


def test_of_many_suffixes_a_few_are_told(picture_tree, capsys):
    for number in range(30):
        (picture_tree / f"id_train/dark_square/depth.{number:06d}").write_bytes(b"\0\1")
    load(picture_tree)
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("id_train")]
    assert said.startswith("id_train: 20 pictures; left out: 1 .000000, 1 .000001, ")
    assert said.endswith(", 1 .000007, ...")


def test_pictures_of_12_bits_in_16_are_told_of(picture_tree, capsys):
    there, ramp = picture_tree / "id_val/light_square", np.linspace(0, 4095, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(there / "a.png")
    for name in ("b.tif", "c.tif"):
        Image.fromarray(ramp).save(there / name)
    load(picture_tree)
    told = [line for line in capsys.readouterr().err.splitlines() if "of one colour" in line]
    widen = "12 bits, say, are to be multiplied by 16 before they are written"
    said = f"{there / 'b.tif'} (values 0 to 4095 of 65535: {widen})"
    assert told == [f"warning: id_val: 3 of 23 pictures are of one colour, or nearly, the first: {said}"]


def test_a_class_of_other_files_alone_is_empty(picture_tree):
    for image in (picture_tree / "id_val/dark_square").iterdir():
        image.rename(image.with_suffix(".dcm"))
        image.with_suffix(".dcm").write_bytes(b"DICM")
    assert "no images in class dark_square (other files: .dcm)" in fault(picture_tree)


def test_folders_that_are_numbers_are_in_their_order(picture_tree):
    for split in picture_tree.rglob("dark_square"):
        split.rename(split.with_name("10"))
    for split in picture_tree.rglob("light_square"):
        split.rename(split.with_name("9"))
    assert load(picture_tree).classes.folders == ("9", "10")


@pytest.mark.parametrize("text", ["a tile\nA TILE\n", "dark_square = tile\nlight_square = Tile\n"])
def test_classes_of_one_name(picture_tree, text):
    (picture_tree / "classnames.txt").write_text(text)
    assert "the name of class light_square is " in (said := fault(picture_tree))
    assert "as that of dark_square" in said


@pytest.mark.parametrize(
    "other",
    [
        *("ti\u200ble", "tile\u00ad", "\ufefftile", "tile\ufe0f", "tile\u3164", "Ti\u034fle\U000e0101"),
        *("t\u0456l\u0435", "Til\u0415", "\uff54\uff49\uff4c\uff45"),
    ],
    ids=ascii,
)
def test_classes_that_look_alike(picture_tree, other, monkeypatch):
    """One error names both, the invisible letter written out, before any picture is decoded."""
    monkeypatch.setattr("metaft.data.pictures.splits_of", lambda *_: pytest.fail("pictures are decoded"))
    (picture_tree / "classnames.txt").write_text(f"dark_square = tile\nlight_square = {other}\n")
    said = fault(picture_tree)
    written = "".join(c if c.isascii() else ascii(c)[1:-1] for c in other)
    assert f"the name of class light_square is '{written}', as that of dark_square, which is 'tile', to the eye" in said


def test_blanks_of_two_kinds_look_alike(picture_tree):
    (picture_tree / "classnames.txt").write_text("dark_square = a tile\nlight_square = a\u00a0 tile\n")
    assert "the name of class light_square is 'a\\xa0 tile', as that of dark_square, which is 'a tile'" in fault(
        picture_tree
    )


@pytest.mark.parametrize(
    "pair", ["\u0441\u043e\u043a sok", "\u03b1 a", "\u00b5m mm", "\u00e9 \u0435", "m\u00b2 m2", "Ma\u00dfe Masse"]
)
def test_names_that_an_eye_tells_apart(pair):
    """Of two alphabets, with and without an accent, and units."""
    Classes(tuple(pair.split()), ("{}",)).refuse_alike()


def test_folders_that_look_alike(picture_tree):
    for split in picture_tree.rglob("light_square"):
        split.rename(split.with_name("dark_\u200bsquare"))
    said = fault(picture_tree)
    assert "the name of class dark_\\u200bsquare is 'dark \\u200bsquare', as that of dark_square, which is" in said


@pytest.mark.parametrize("name", ["\u200b", "\u00a0", "\u200d \ufeff\u2060"])
def test_a_name_that_shows_nothing_is_empty(picture_tree, name):
    (picture_tree / "classnames.txt").write_text(f"light_square = a\ndark_square = {name}\u2060\n")
    assert "the name of class dark_square is empty" in fault(picture_tree)


def test_a_split_from_a_machine_with_decomposed_names(picture_tree):
    for form, split in (("NFC", "id_train"), ("NFD", "id_val"), ("NFD", "ood_val"), ("NFC", "id_test")):
        (picture_tree / split / "dark_square").rename(picture_tree / split / unicodedata.normalize(form, "caf\u00e9"))
    for test in ("dusk", "dawn"):
        (picture_tree / "ood_test" / test / "dark_square").rename(picture_tree / "ood_test" / test / "cafe\u0301")
    assert load(picture_tree).classes.names == ("caf\u00e9", "light square")


@pytest.mark.parametrize("absolute", [False, True])
def test_splits_may_be_named_in_another_form_than_on_disk(picture_tree, absolute):
    (picture_tree / "id_train").rename(picture_tree / "cafe\u0301")
    typed = picture_tree / "caf\u00e9" if absolute else "caf\u00e9"
    assert len(load(picture_tree, options={"id_train": str(typed), "more": {"web": "caf\u00e9"}}).more["web"]) == 20


def test_a_hidden_folder_changes_no_test_set(picture_tree):
    for name in ("dark_square", "light_square"):
        (picture_tree / "id_test" / name / ".ipynb_checkpoints").mkdir()
    splits = load(picture_tree, options={"ood_test": {}})
    (picture_tree / "ood_test/dusk/dark_square/.ipynb_checkpoints").mkdir()
    assert set(load(picture_tree).tests) == set(splits.tests)


def test_classes_that_do_not_match(picture_tree):
    (picture_tree / "ood_val/light_square").rename(picture_tree / "ood_val/lite_square")
    text = fault(picture_tree)
    assert "lite_square: class unknown to id_train" in text
    assert "'light_square'" in text
    (picture_tree / "ood_val/lite_square").rename(picture_tree / "ood_val/zebu")
    assert "zebu: class unknown to id_train; allowed: dark_square, light_square" in fault(picture_tree)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("day\n", "1 class names; allowed: 2"),
        ("dark_squar = a\nlight_square = b\n", "'dark_square'"),
        ("", "is empty"),
    ],
)
def test_class_names_that_do_not_match(picture_tree, text, words):
    (picture_tree / "classnames.txt").write_text(text)
    assert words in fault(picture_tree)


def test_a_template_without_a_place(picture_tree):
    (picture_tree / "t.txt").write_text("a {}.\na tile.\n")
    assert "line 2: 'a tile.'" in fault(picture_tree, templates=str(picture_tree / "t.txt"))
    assert "cannot read" in fault(picture_tree, templates="no such file")


def test_one_class_is_no_classification(picture_tree):
    for folder in list(picture_tree.rglob("light_square")):
        for image in folder.iterdir():
            image.unlink()
        folder.rmdir()
    with pytest.raises(DataError, match="1 class found"):
        load(picture_tree)


def test_settings_that_say_of_no_split_where_it_is():
    (nowhere,) = registry.faults(DataConfig(format="folder"))
    assert (nowhere.field, nowhere.found) == ("data.root", "nothing given")
    assert registry.faults(DataConfig(format="folder", root="pictures")) == []
    assert registry.faults(DataConfig(format="folder", options={"id_train": "somewhere"})) == []


@pytest.mark.parametrize("split", ["id_train", "ood_val"])
@pytest.mark.parametrize("what", ["picture", "its twin"])
def test_a_picture_is_of_one_class(picture_tree, split, what):
    dark, light = (picture_tree / split / name for name in ("dark_square", "light_square"))
    if what == "picture":
        (light / "z.png").symlink_to(dark / "0.png")
    else:
        (light / "z.png").hardlink_to(dark / "0.png")
    said = fault(picture_tree)
    assert f"{split}: " in said
    assert "dark_square/0.png of 'dark_square' and " in said
    assert "light_square/z.png of 'light_square' are one file; allowed: one class for each picture" in said


def test_a_class_folder_that_is_another_is_refused(picture_tree):
    for split in ("id_train", "id_val"):
        (picture_tree / split / "third").symlink_to(picture_tree / split / "dark_square")
    assert "are one file; allowed: one class for each picture" in fault(picture_tree)
