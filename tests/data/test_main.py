"""python -m metaft.data: what it says of sets and of one's own pictures, its exit codes, its contact sheet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import metaft
from metaft.data.__main__ import main, settings
from metaft.data.sheet import GAP, LINE, SIDE
from tests.data.sets.miniatures import cifar10
from tests.data.sets.test_coop import of_flowers
from tests.data.test_wilds import iwildcam

ROOT = Path(metaft.__file__).parent.parent


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def said(capsys, *words: str, code: int = 0) -> str:
    """What the command prints, blanks made one."""
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    return " ".join((err if code else out).replace("|", " ").split())


def test_a_set_and_what_is_missing_of_it(tmp_path, capsys):
    root = cifar10(tmp_path / "data")
    (root / "CIFAR-10.1").rename(root / "elsewhere")
    text = said(capsys, "cifar10", "--root", "data", "ood_val=6", "balanced=true", "shots=2")
    assert "cifar10_1 missing 2,000 https://github.com/modestyachts/CIFAR-10.1 MIT" in text
    assert "cifar10_c CIFAR-10-C 190,000 https://zenodo.org/records/2535967 CC-BY-4.0" in text
    assert "Papers report accuracy." in text
    assert "id_train 20 10 of 10 0 airplane: 2" in text
    assert "ood_val 6 6 of 10 2" in text
    assert "ood_test/stl10 18 9 of 9 0 airplane: 2" in text
    assert text.endswith("wrote contact_sheet.png")


@pytest.mark.parametrize("word", ["severity=2", "options.severity=2", "data.options.severity=2"])
def test_options_go_before_settings_of_the_same_name(word):
    assert settings("cifar10", Path("a #b: null"), [word]).options == {"severity": 2}
    assert settings("folder", Path("a #b: null"), ["ground=black"]).root == Path("a #b: null")


def test_a_set_as_coop_lays_it_out(tmp_path, capsys):
    path = of_flowers(tmp_path / "data")
    text = said(capsys, "flowers102", "--root", "data")
    place, home = "oxford_flowers/split_zhou_OxfordFlowers.json", "https://github.com/KaiyangZhou/CoOp/blob/main/"
    assert f"id_val {place} 1,633 {home}DATASETS.md none stated" in text
    assert "ood_val 102 102 of 102 0 pink primrose: 1" in text
    path.unlink()
    assert main(["flowers102", "--root", "data"]) == 3
    out, err = capsys.readouterr()
    assert "id_train | missing | 4,093" in out
    assert f"id_train: no {place} or flowers-102/setid.mat or flowers102/train in data; allowed: what is given" in err
    assert f"at {home}DATASETS.md or https://www.robots.ox.ac.uk/~vgg/data/flowers/102, unpacked" in err


def test_the_sheet_shows_the_pictures(tmp_path, picture_tree, capsys):
    for path in picture_tree.rglob("*.png"):
        Image.new("RGB", (40, 20), "red" if "dark" in str(path) else "blue").save(path)
    text = said(capsys, "folder", "--root", "pictures", "--out", "here/sheet.png")
    assert "id_train 20 2 of 2 0 dark square: 10" in text
    with Image.open(tmp_path / "here" / "sheet.png") as image:
        sheet = np.asarray(image)
    assert len(sheet) == GAP + 6 * (SIDE + 2 * LINE + GAP), "a row for each split"
    middle = sheet[GAP + LINE + SIDE // 2, GAP + SIDE // 2 :: SIDE + GAP]
    assert {tuple(colour) for colour in middle.tolist()} == {(255, 0, 0), (0, 0, 255)}
    edge = sheet[GAP + LINE + 4, GAP + SIDE // 2]
    assert tuple(edge) == (255, 255, 255), "a wide picture is shown whole, on a ground"


def test_a_sheet_takes_the_place_of_a_sheet_alone(picture_tree, capsys):
    words, picture = ["folder", "--root", "pictures", "--out"], next(picture_tree.rglob("0.png"))
    names = Path("names.txt")
    names.write_text("dark\nlight\n")
    for file in (names, picture):
        before = file.read_bytes()
        assert f"--out: {file}, which is no contact sheet; allowed: a new file, or an earlier sheet" in said(
            capsys, *words, str(file), code=2
        )
        assert file.read_bytes() == before
    for _ in range(2):
        said(capsys, *words, "sheet.png")
    assert sorted(path.name for path in Path.cwd().iterdir() if path.is_file()) == ["names.txt", "sheet.png"]


def test_sets_of_wilds_by_their_names(tmp_path, capsys):
    iwildcam(tmp_path)
    text = said(capsys, "iwildcam", "--root", ".")
    assert text.startswith("iwildcam: given away at https://wilds.stanford.edu/datasets, licence CDLA-Permissive-1.0")
    assert "licence CDLA-Permissive-1.0. Papers report macro_f1." in text
    assert "ood_test/test 6 3 of 3" in text


def test_what_is_missing_of_a_set_of_wilds(tmp_path, capsys):
    folder = iwildcam(tmp_path)
    text = said(capsys, "iwildcam", "--root", ".")
    assert "metadata.csv iwildcam_v2.0/metadata.csv - categories.csv iwildcam_v2.0/categories.csv -" in text
    assert "train iwildcam_v2.0/train - id_train iwildcam_v2.0/train 129,809 id_val iwildcam_v2.0/train 7,314" in text
    (folder / "train").rename(folder / "elsewhere")
    (folder / "categories.csv").unlink()
    assert main(["iwildcam", "--root", "."]) == 3
    out, err = capsys.readouterr()
    shown = " ".join(out.replace("|", " ").split())
    assert "categories.csv missing - train missing - id_train missing 129,809" in shown
    assert "categories.csv" in err
    (folder / "metadata.csv").unlink()
    assert main(["iwildcam", "--root", "."]) == 3
    assert "metadata.csv missing - categories.csv missing" in " ".join(
        capsys.readouterr().out.replace("|", " ").split()
    )


def test_images_of_wilds_that_were_unpacked_in_part(tmp_path, capsys):
    folder = iwildcam(tmp_path)
    (folder / "train" / "train-3.jpg").unlink()
    text = said(capsys, "iwildcam", "--root", "iwildcam_v2.0", code=3)
    assert "id_train: 1 of 6 files are not there, the first: iwildcam_v2.0/train/train-3.jpg" in text
    published = "other numbers of pictures than were published: 6 of 129,809 of id_train, 6 of 7,314 of id_val, "
    assert f"warning: iwildcam_v2.0/metadata.csv: {published}" in text


def test_exit_codes(tmp_path, capsys):
    assert "Did you mean 'cifar10'?" in said(capsys, "cifar-10", "--root", ".", code=2)
    assert "data.root: nothing given" in said(capsys, "cifar10", code=2)
    assert "data.options.severty: unknown key" in said(capsys, "cifar10", "--root", ".", "severty=3", code=2)
    assert "seed: -1" in said(capsys, "digits", "--seed", "-1", code=2)
    assert "seed: 99999999999999999999" in said(capsys, "digits", "--seed", "99999999999999999999", code=2)
    text = said(capsys, "cifar10", "--root", ".", code=3)
    assert "id_train: no cifar-10-batches-py in ." in text
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in text
    cifar10(tmp_path)
    (tmp_path / "file").write_text("")
    assert "--out: file/sheet.png: " in said(capsys, "cifar10", "--root", ".", "--out", "file/sheet.png", code=3)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    assert "no test_batch there" in said(capsys, "cifar10", "--root", ".", code=3)


def test_what_a_run_refuses_is_refused_whatever_is_drawn(picture_tree, capsys):
    words, train = ["folder", "--root", "pictures"], picture_tree / "id_train/dark_square"
    for name in ("contact_sheet.png", "nowhere"):
        assert not (Path.cwd() / name).exists()
    assert "--out: ., a folder" in said(capsys, *words, "--out", ".", code=2)
    shutil.copy(train / "0.png", picture_tree / "ood_val/dark_square/copy.png")
    assert "1 picture of ood_val too, the first: " in said(capsys, *words, code=3)
    (train / "3.png").write_bytes((train / "3.png").read_bytes()[:60])
    for seed in "0123":
        assert "id_train: 1 of 20 images unreadable" in said(capsys, *words, "--seed", seed, code=3)
    (picture_tree / "ood_val/dark_square/copy.png").unlink()
    assert main([*words, "on_unreadable=skip"]) == 0
    out, err = capsys.readouterr()
    assert "id_train      |     19 |" in out
    assert err.count("id_train: 19 pictures") == err.count("warning: skipped: ") == 1


def test_nothing_but_a_name_is_needed(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("required: NAME\n")


def test_as_a_command():
    command = [sys.executable, "-m", "metaft.data", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "python -m metaft.data" in done.stdout
