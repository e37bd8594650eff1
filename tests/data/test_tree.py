"""Which entries of folders are data: nothing hidden or left behind, links once, names in one form and in order."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from metaft.data import tree
from metaft.data.stored import is_missing
from metaft.data.tree import BESIDE, HIDDEN, LINKED
from metaft.errors import DataError

JUNK = (
    *(".DS_Store", "._a.png", "Thumbs.db", "thumbs.DB", "desktop.ini", ".ipynb_checkpoints/a-checkpoint.png"),
    *("__MACOSX/a.png", "@eaDir/a.png", "deep/.thumbnails/a.png", "deep/@eaDir/SYNO/a.png", ".git/objects/a.png"),
)


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def names(found: tree.Found, root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in found.files]


@pytest.mark.parametrize("junk", JUNK)
def test_what_systems_leave_behind_is_no_data_at_any_depth(tmp_path, junk):
    found = tree.walked(made(tmp_path, "a.png", "deep/b.png", junk))
    assert names(found, tmp_path) == ["a.png", "deep/b.png"]
    assert found.left_out == {HIDDEN: 1}


def test_a_data_set_may_lie_below_a_hidden_folder(tmp_path):
    root = made(tmp_path / ".cache" / "pictures", "cat/a.png")
    assert list(tree.folders(root)) == ["cat"]
    assert names(tree.walked(root), root) == ["cat/a.png"]


def test_folders_of_classes(tmp_path):
    made(tmp_path, "cat/a.png", "dog/a.png", ".cache/a.png", "__MACOSX/a.png", "notes.txt", ".DS_Store")
    (tmp_path / "cow").symlink_to(tmp_path / "cat")
    assert list(tree.folders(tmp_path)) == ["cat", "cow", "dog"]
    assert tree.entries_beside(tmp_path) == {HIDDEN: 3, BESIDE: 1}
    assert tree.folders(tmp_path / "absent") == {}


@pytest.mark.parametrize("target", ["nowhere", "cow", "/not-mounted/cow"])
def test_a_folder_that_a_link_does_not_lead_to_is_missed(tmp_path, target):
    made(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / ".cow").symlink_to(target)
    assert list(tree.folders(tmp_path)) == ["cat", "dog"]
    assert tree.entries_beside(tmp_path) == {HIDDEN: 1}
    (tmp_path / "cow").symlink_to(target)
    with pytest.raises(DataError, match=f"/cow: a link to '{target}', where nothing can be found; allowed: links that"):
        tree.folders(tmp_path)


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        ("10 9 0 11 1", "0 1 9 10 11"),
        ("010 9 8", "8 9 010"),
        ("b10 b9", "b10 b9"),
        ("9 10 ten", "10 9 ten"),
    ],
)
def test_numbers_are_in_the_order_of_numbers(given, ordered):
    assert tree.in_order(given.split()) == ordered.split()


def test_links_are_followed_and_what_they_lead_to_comes_once(tmp_path):
    store = made(tmp_path / "store", "1.png", "2.png", "more/3.png")
    root = made(tmp_path / "cat", "0.png", "z/own.png")
    (root / "linked").symlink_to(store)
    (root / "again").symlink_to(store / "more")
    (root / "a.png").symlink_to(root / "z/own.png")
    (root / "b.png").symlink_to(store / "1.png")
    found = tree.walked(root)
    assert sorted(path.resolve().name for path in found.files) == ["0.png", "1.png", "2.png", "3.png", "own.png"]
    assert root / "z/own.png" in found.files, "the file itself, not a link to it"
    assert found.left_out == {LINKED: 3}


def test_a_folder_is_gone_through_once_however_many_ways_lead_there(tmp_path):
    """Ways double with each folder of such a chain: 2 ** 30 of them lead to the last."""
    made(tmp_path / "store", *(f"{number}/{number}.png" for number in range(31)))
    for number in range(30):
        for link in "ab":
            (tmp_path / "store" / str(number) / link).symlink_to(f"../{number + 1}")
    made(tmp_path, "cat/0.png", "cat/z/1.png")
    (tmp_path / "cat" / "link").symlink_to(tmp_path / "store" / "0")
    (tmp_path / "cat" / "again").symlink_to("z")
    found = tree.walked(tmp_path / "cat")
    assert [path.name for path in found.files if path.parent.name in ("cat", "z")] == ["0.png", "1.png"]
    assert len(found.files) == 33
    assert found.left_out == {LINKED: 31}, "a second link in each of the thirty, and one to a folder beside it"
    assert found.files == tree.walked(tmp_path / "cat").files


@pytest.mark.parametrize("target", [".", "..", "../dog"])
def test_links_in_a_circle_are_a_fault(tmp_path, target):
    made(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "cat" / "round").symlink_to(target)
    (tmp_path / "dog" / "back").symlink_to("../cat")
    with pytest.raises(DataError, match=r"/(round|back): a link to a folder that it lies in; allowed: "):
        tree.walked(tmp_path / "cat")


def test_a_link_to_nothing_is_left_to_who_opens_it(tmp_path):
    made(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    assert names(tree.walked(tmp_path), tmp_path) == ["a.png", "gone.png", "self.png"]


def refuse(monkeypatch, name: str) -> None:
    """Have the system refuse to look at what lies at, or behind, a path of this name."""
    system = os.stat

    def looked(path, *args, **kwargs):
        if isinstance(path, Path | str) and Path(path).name == name and kwargs.get("follow_symlinks", True):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return system(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", looked)


def test_a_link_to_where_one_may_not_look_is_left_to_who_opens_it(tmp_path, monkeypatch):
    made(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to("/elsewhere/b.png")
    refuse(monkeypatch, "b.png")
    assert names(tree.walked(tmp_path), tmp_path) == ["a.png", "b.png"]


def test_a_file_that_may_not_be_looked_at_is_not_missing(tmp_path, monkeypatch):
    assert is_missing(tmp_path / "a.png")
    assert is_missing(tmp_path / ("a" * 300))
    assert is_missing(Path("a\0b"))

    def lstat(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "lstat", lstat)
    assert not is_missing(tmp_path / "a.png")


def test_names_are_read_in_one_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).mkdir()
    assert list(tree.folders(tmp_path)) == [composed]
    (tmp_path / composed).mkdir()
    with pytest.raises(DataError, match="two folders of the name 'caf\u00e9'"):
        tree.folders(tmp_path)


@pytest.mark.parametrize("name", [b"na\xefve", b"two\nlines", b"bell\x07.png"])
def test_names_that_cannot_be_written_are_refused(tmp_path, name):
    root = tmp_path / "pictures"
    (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).mkdir(parents=True)
    for read in (tree.folders, tree.walked):
        with pytest.raises(DataError, match="is not UTF-8 or has control characters") as caught:
            read(root)
        assert str(caught.value).encode(), "the message can be printed anywhere"


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85"])
def test_separators_are_refused_too(tmp_path, letter):
    (tmp_path / f"a{letter}b").mkdir()
    with pytest.raises(DataError, match="allowed: plain text in UTF-8"):
        tree.folders(tmp_path)


def test_numbers_have_an_order_however_long_they_are():
    long = ["9" * 5000, "1" + "0" * 5000, "2", "10", "007"]
    assert tree.in_order(long) == ["2", "007", "10", *long[:2]]
    assert tree.in_order(["b", "10", "2"]) == ["10", "2", "b"]
