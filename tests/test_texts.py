"""Text from outside: regular files in UTF-8 of a bounded size, and names that stand on one line."""

from __future__ import annotations

import os

import pytest

from metaft.texts import oddity, read_text


def test_a_text_is_read_without_its_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\n")
    assert read_text(path) == "caf\u00e9\r\n"
    assert read_text(path, limit=10) == "caf\u00e9\r\n"
    with pytest.raises(OSError, match="more than 9 bytes"):
        read_text(path, limit=9)


def test_what_would_be_waited_for_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            read_text(path)
    with pytest.raises(OSError, match="No such file"):
        read_text(tmp_path / "absent")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_other_encodings_are_refused(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("caf\u00e9".encode(encoding))
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "a.txt")


def test_what_splits_lines_is_odd():
    every = [chr(number) for number in range(0x11000)]
    breaking = [letter for letter in every if len(f"a{letter}b".splitlines()) > 1]
    assert len(breaking) == 10
    assert all(oddity(f"a{letter}b") for letter in breaking)
    halves = [letter for letter in every if "\ud800" <= letter <= "\udfff"]
    assert all("not UTF-8" in (oddity(letter) or "") for letter in halves)
    assert oddity("caf\u00e9 \u72ac \U0001f600 a_b=c") is None
