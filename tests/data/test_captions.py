"""Class names and templates from files: of any editor, and beyond doubt."""

from __future__ import annotations

import os

import pytest

from metaft.data.captions import class_names, listed, templates
from metaft.errors import DataError

BOM = b"\xef\xbb\xbf"
TEN = tuple(str(i) for i in range(12))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


def names(tmp_path, content: bytes | str, folders=("circle", "square")):
    path = tmp_path / "classnames.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return class_names(path, folders)


@pytest.mark.parametrize("start", [b"", BOM])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("lines", [(b"ring", b"box"), (b"square = box", b"circle = ring")])
def test_files_of_any_editor(tmp_path, start, end, lines):
    assert names(tmp_path, start + end.join(lines) + end) == ("ring", "box")


def test_names_are_in_the_composed_form(tmp_path):
    assert names(tmp_path, "cafe\u0301 = the\u0301\nb = box\n", ("caf\u00e9", "b")) == ("th\u00e9", "box")


def test_numbered_folders_have_the_names_of_their_numbers(tmp_path):
    assert names(tmp_path, "\n".join(WORDS), TEN) == WORDS
    assert names(tmp_path, "\n".join(WORDS), tuple(f"n{i:08d}" for i in range(5, 29, 2))) == WORDS
    assert names(tmp_path, "\n".join(WORDS), tuple(f"{i:03d}" for i in range(1, 13))) == WORDS


@pytest.mark.parametrize(
    ("folders", "lines", "words"),
    [
        (sorted(TEN), WORDS, "not in the order of their numbers: 10"),
        ([f"class_{i}" for i in sorted(TEN)], WORDS, "not in the order of their numbers: class_10"),
        (["0", "1", "3"], WORDS[:3], "whose numbers have gaps: 0, 1, 3"),
        (["cat", "dog"], ["dog", "cat"], "'dog' in the line of the folder 'cat'"),
        (["cat", "dog"], ["dogs", "cats"], "'dogs' in the line of the folder 'cat'"),
        (["cat", "dog"], ["dog, a", "cat, b"], "'dog, a', which begins with the folder 'dog'"),
        (["n01", "n02"], ["n02 fish", "n01 bird"], "'n02 fish', which begins with the folder 'n02'"),
        (["n01", "n02"], ["n01 fish", "n02 bird"], "'n01 fish', which begins with the folder 'n01'"),
        (["n01", "n02"], ["n01: fish", "n02: bird"], "'n01: fish', which begins with the folder 'n01'"),
        (["0", "1"], ["1 fish", "0 bird"], "'1 fish', which begins with the folder '1'"),
        (["a", "b"], ["{0: 'fish',", "1: 'bird'}"], "line 1: \"{0: 'fish',\", as in Python or JSON"),
        (["a", "b"], ["0: 'fish'", "1: 'bird'"], "line 1: \"0: 'fish'\", as in Python or JSON"),
        (["a", "b"], ['"0": ["n01", "fish"],', "x"], "as in Python or JSON"),
        (["a", "b"], ["'fish',", "'bird',"], "line 1: \"'fish',\", as in Python or JSON"),
        (["a", "b"], ['b = "bird"', 'a = "fish"'], "line 1: '\"bird\"', as in Python or JSON"),
        (["hot_dog", "ice_cream"], ["Ice cream", "hot dog"], "'Ice cream' in the line of the folder 'hot_dog'"),
        (["cat", "dog"], ["cat"], "1 class names; allowed: 2"),
        (["①", "1²"], ["one", "two", "three"], "3 class names; allowed: 2"),
        (["cat", "dog"], ["cat =", "dog = dog"], "line 1: 'cat ='"),
        (["cat", "dog"], ["cat = a", "cat = b", "dog = c"], "line 2: 'cat = b'"),
        (["cat", "dog"], ["cat = a", "dog"], "line 2: 'dog'"),
    ],
)
def test_doubt_is_an_error(tmp_path, folders, lines, words):
    with pytest.raises(DataError) as caught:
        names(tmp_path, "\n".join(lines), folders)
    assert words in str(caught.value)
    assert "folder = name" in str(caught.value) or "one for each class folder" in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        ("0 cat", "1 dog"),
        ("0: cat", "1: dog"),
        ("1. cat", "2. dog"),
        ("0,cat", "1,dog"),
        ("0;cat", "1;dog"),
        ("1) cat", "2) dog"),
        ("001.Black_footed_Albatross", "002.Laysan_Albatross"),
        ("1 001.Black_footed_Albatross", "2 002.Laysan_Albatross"),
        ("n01440764 tench, Tinca tinca", "n01443537 goldfish, Carassius auratus"),
        ("n01440764: tench", "n01443537: goldfish"),
    ],
)
def test_numbers_before_names_are_refused(tmp_path, lines):
    for folders in (("a", "b"), ("00", "01")):
        with pytest.raises(DataError) as caught:
            names(tmp_path, "\n".join(lines), folders)
        assert f"{lines[0]!r} and so on" in str(caught.value)
        assert "allowed: the names alone, or lines `folder = name`" in str(caught.value)
    with pytest.raises(DataError, match=r"and so on, .*; allowed: the names alone$"):
        listed(tmp_path / "classnames.txt")


@pytest.mark.parametrize(
    "lines",
    [("0", "1"), ("1-bedroom", "2-bedroom"), ("0.5", "1.5"), ("3 doors", "4 doors"), ("0 a", "b"), ("1st", "2nd")],
)
def test_names_may_begin_with_numbers(tmp_path, lines):
    assert names(tmp_path, "\n".join(lines)) == listed(tmp_path / "classnames.txt") == lines


def test_names_that_folders_have_too_may_begin_with_running_numbers(tmp_path):
    assert names(tmp_path, "1 euro\n2 euro", ("1_euro", "2_euro")) == ("1 euro", "2 euro")
    assert names(tmp_path, "a = 1 euro\nb = 2 euro", ("a", "b")) == ("1 euro", "2 euro")


def test_names_may_hold_what_lists_do(tmp_path):
    odd = ("dog (animal), small", "rock 'n' roll")
    assert names(tmp_path, "\n".join(odd), ("dog", "music")) == odd
    assert names(tmp_path, "glass\ncross", ("cup", "sign")) == ("glass", "cross")


def test_names_by_number_are_names_alone(tmp_path):
    for line in ("cat = tabby", '"cat",'):
        (tmp_path / "names.txt").write_text(f"{line}\ndog\n")
        with pytest.raises(DataError, match=r"names\.txt, line 1"):
            listed(tmp_path / "names.txt")


@pytest.mark.parametrize("text", ["a photo of a {}.\n", "a photo of a {c}.\r\n", "\n  a photo of a {}.\n\n"])
def test_templates_as_others_write_them(tmp_path, text):
    (tmp_path / "t.txt").write_bytes(BOM + text.encode())
    assert templates(str(tmp_path / "t.txt")) == ("a photo of a {}.",)


@pytest.mark.parametrize(
    "line",
    ["a {} photo, {0}", "a photo of a {} }", "a {c} and a {}", "a photo of {!r}", "a tile", "{", "{c!r}", "{{}}"],
)
def test_a_template_has_one_place(tmp_path, line):
    (tmp_path / "t.txt").write_text(f"a {{}}.\n\n{line}\n")
    with pytest.raises(DataError, match=r"t\.txt, line 3: .*allowed: a template with one \{\} and no other brace"):
        templates(str(tmp_path / "t.txt"))


@pytest.mark.parametrize(
    "line", ["'a photo of a {}.',", '"a photo of a {}."', "['a photo of a {}.']", 'lambda c: f"a {c}.",']
)
def test_a_list_of_python_is_no_template(tmp_path, line):
    (tmp_path / "t.txt").write_text(line)
    with pytest.raises(DataError, match=r"line 1: .* as in a list of Python"):
        templates(str(tmp_path / "t.txt"))


def test_digits_that_are_no_numbers_are_text(tmp_path):
    assert names(tmp_path, "one\ntwo", ["①", "②"]) == ("one", "two")


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\0", "\x7f"])
def test_names_do_not_break_their_lines(tmp_path, letter):
    for content in (f"ring\nb{letter}x\n", f"square = ring\ncircle = b{letter}x\n"):
        with pytest.raises(DataError, match=r"line 2: .* with .*; allowed: plain text in UTF-8"):
            names(tmp_path, content)


@pytest.mark.parametrize("mark", ["-", "*", "\u2022"])
def test_marks_of_a_list_are_no_part_of_names(tmp_path, mark):
    with pytest.raises(DataError, match=r"each line with a mark as of a list; allowed: the names alone"):
        names(tmp_path, f"{mark} ring\n{mark} box\n")
    assert names(tmp_path, f"{mark} ring\nbox\n")[1] == "box"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_files_of_names_in_utf_16_are_called_that(tmp_path, encoding):
    with pytest.raises(DataError, match=r"cannot read .* it is in UTF-16, or UTF-32\); allowed: .* in UTF-8"):
        names(tmp_path, "ring\nbox\n".encode(encoding))


def test_files_of_names_are_regular_and_in_utf_8(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no regular file"):
        class_names(tmp_path / "pipe", ("a", "b"))
    with pytest.raises(DataError, match=r"cannot read .*in UTF-8"):
        names(tmp_path, "ring\nb\u00e9x".encode("latin-1"))
    with pytest.raises(DataError, match="cannot read"):
        templates("a\0b")


def test_folders_of_long_numbers_have_an_order(tmp_path):
    folders = ("9" * 200, "1" + "0" * 200)
    assert names(tmp_path, "a\nb\n", tuple(f"n{f}" for f in folders)) == ("a", "b")
