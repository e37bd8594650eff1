"""Text from outside: files of it, and names that go on into files with one name a line."""

from __future__ import annotations

import re
import stat
import unicodedata
from pathlib import Path

# Kinds of letters that no name may have: str.splitlines breaks at some of them, and UTF-8 cannot hold others.
ODD = {
    "Cc": "a control character",
    "Cs": "bytes that are not UTF-8",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # kinds of letters that show nothing
BLANK = re.compile(  # others: joiners and fillers, blank Braille, and selectors of how the letter before is drawn
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
ALIKE = {  # letters drawn as Latin ones are, small and capital: of Cyrillic, the Greek omicron, and those of full width
    **dict(zip(map(ord, "аеорсухіјѕһԛԝԁο"), "aeopcyxijshqwdo", strict=True)),
    **{0xFEE0 + number: chr(number) for number in range(0x21, 0x7F)},
}
WIDE = re.compile(rb"(?:[\t\n\r -~]\0){4}|(?:\0[\t\n\r -~]){4}")  # how a text in UTF-16 may begin
PLAIN = "plain text in UTF-8"  # what a name may be, in words


def regular(path: Path) -> Path:
    """A path that leads to a regular file, which can be opened without waiting for anyone.

    Raises:
        OSError: there is none, or it is a folder, a pipe or a device.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("no regular file")
    return path


def read_text(path: Path, limit: int | None = None) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark.

    Args:
        limit: the most bytes that it may have.

    Raises:
        OSError: it cannot be opened, is longer, or is a pipe or a device, which could be waited for without end.
        ValueError: it is not UTF-8, or there can be no such path.
    """
    with regular(path).open("rb") as file:
        content = file.read(-1 if limit is None else limit + 1)
    if limit is not None and len(content) > limit:
        raise OSError(f"more than {limit:,} bytes")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or WIDE.match(content):
        raise UnicodeDecodeError("utf-8", content[:2], 0, 1, "it is in UTF-16, or UTF-32")
    return content.decode("utf-8-sig")


def whole(text: str) -> int | None:
    """The whole number from 0 that a text is, in at most 18 digits from 0 to 9; None: it is none.

    >>> whole("007"), whole("-1"), whole("1_0"), whole("9" * 19)
    (7, None, None, None)
    """
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def half_letter(text: str) -> str | None:
    """The first half of a letter (a surrogate), which UTF-8 cannot hold; None where all are whole."""
    return None if text.isascii() else next((letter for letter in text if "\ud800" <= letter <= "\udfff"), None)


def oddity(name: str) -> str | None:
    """What a name holds that no name may, with the letter; None where it is plain text."""
    if name.isascii() and name.isprintable():
        return None
    kinds = ((letter, ODD.get(unicodedata.category(letter))) for letter in name)
    return next((f"{kind} ({letter!a})" for letter, kind in kinds if kind), None)


def is_blank(name: str) -> bool:
    """Whether a name shows nothing.

    >>> is_blank(" \u200b"), is_blank("-")
    (True, False)
    """
    return all(map(_unseen, name))


def look(name: str) -> str:
    """What of a name is seen, in small letters: names that are not told apart by eye have the same.

    >>> look("Ca\u200bt"), look("a\u00a0 cat"), look("\u0441\u0430ts")
    ('cat', 'a cat', 'cats')
    >>> look("Maße") == look("Masse")  # which are other words, though capitals may write them alike
    False
    """
    spaced = (" " if unicodedata.category(letter) == "Zs" else letter for letter in name)
    seen = "".join(letter for letter in spaced if letter == " " or not _unseen(letter))
    apart = unicodedata.normalize("NFD", " ".join(seen.split()))
    small = "ß".join(part.casefold() for part in apart.replace("ẞ", "ß").split("ß"))
    return unicodedata.normalize("NFC", small.translate(ALIKE))


def spelt(name: str) -> str:
    """A name with what is not seen of it, but for blanks, written out; so is what only seems Latin beside no other.

    >>> spelt("ca\u200bt"), spelt("\u0441at"), spelt("\u0441\u043e\u043a") == "\u0441\u043e\u043a"
    ('ca\\\\u200bt', '\\\\u0441at', True)
    """
    seems_latin = all(letter.isascii() for letter in look(name))
    hidden = {letter for letter in name if letter != " " and (_unseen(letter) or (seems_latin and _is_alike(letter)))}
    return "".join(ascii(letter)[1:-1] if letter in hidden else letter for letter in name)


def _unseen(letter: str) -> bool:
    """Whether a letter shows nothing."""
    return unicodedata.category(letter) in UNSEEN or BLANK.match(letter) is not None


def _is_alike(letter: str) -> bool:
    """Whether a letter is drawn as a Latin one is."""
    return any(ord(part) in ALIKE for part in unicodedata.normalize("NFD", letter.casefold()))
