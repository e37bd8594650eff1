"""Class names and caption templates, from files or open_clip's lists."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from metaft.data.tree import by_size
from metaft.errors import DataError, few, hint, why
from metaft.texts import PLAIN, oddity, read_text, whole

TEMPLATE = "a template with one {} and no other brace"
SIZE = 2**26  # bytes of a list of names or templates
CODE = re.compile(r"""^[\[{]|[,}]$|^(["']).*\1$|^["']?\w+["']?\s*:\s*["'\[]""")  # of a list or a mapping
NUMBERED = re.compile(r"([0-9]{1,18}|n[0-9]{8})(?:[\s,;:)_]+|\.(?![0-9]))\s*\S")  # a name behind a number or a wnid
MARKED = re.compile(r"[-*+\u2022\u2013]\s")  # how lines of a list in YAML or Markdown begin
BLANKS = " \t\u00a0\u3000"  # around a line, which are none of it


def templates(setting: str, field: str = "data.templates", *, published: bool = False) -> tuple[str, ...]:
    """Caption templates, each with one `{}`.

    Args:
        setting: `simple` or `openai` (open_clip's lists), or a file with one template a line.
        field: where it is set, for errors.
        published: of a file as it is given away, whose lines may have the class more than once.

    Raises:
        DataError: no such file, a line without exactly one `{}` (or `{c}`), or one of a list of Python.
    """
    import open_clip  # takes seconds, which class names alone need not

    known = {"simple": open_clip.SIMPLE_IMAGENET_TEMPLATES, "openai": open_clip.OPENAI_IMAGENET_TEMPLATES}
    if setting in known:
        return tuple(t("{}") for t in known[setting])
    lines = _lines(Path(setting), field, "simple, openai or a file")
    return tuple(_template(f"{setting}, line {number}", line, published) for number, line in lines)


def usable(template: object) -> bool:
    """Whether a caption template can be filled with a class name."""
    return isinstance(template, str) and [template.count(part) for part in ("{}", "{", "}")] == [1, 1, 1]


def _template(where: str, line: str, published: bool) -> str:
    """A template with its place written as {}; CLIP_benchmark's files write {c}, and {0} where it comes again."""
    several = published and re.fullmatch(r"(?:[^{}]*\{c\}){2,}[^{}]*", line)
    template = line.replace("{c}", "{0}" if several else "{}")
    if not (several or usable(template)):
        raise DataError(f"{where}: {line!r}; allowed: {TEMPLATE}")
    if template.startswith("lambda ") or (template[0] in "\"'[" and template[-1] in "\"',]"):
        raise DataError(f"{where}: {line!r}, as in a list of Python; allowed: the text alone, as in a photo of a {{}}.")
    return template


def class_names(path: Path | None, folders: Sequence[str]) -> tuple[str, ...]:
    """Readable class names for class folders in sorted order.

    Args:
        path: one name a line in the order of the folders, or lines `folder = name` in any order; None: the folders'.
        folders: the class folders.

    Raises:
        DataError: the names do not match the folders.
    """
    if path is None:
        return tuple(folder.replace("_", " ") for folder in folders)
    lines = _names(path, "data.classnames", "a text file")
    if not any("=" in line for _, line in lines):
        return _in_order_of(path, [line for _, line in lines], folders)
    pairs: dict[str, str] = {}
    for number, line in lines:
        folder, equals, name = (part.strip() for part in line.partition("="))
        _refuse_code(f"{path}, line {number}", name)
        if not (equals and folder and name) or folder in pairs:
            raise DataError(f"{path}, line {number}: {line!r}; allowed: one line `folder = name` for each class folder")
        pairs[folder] = name
    unknown = [name for name in pairs if name not in folders]
    missing = [name for name in folders if name not in pairs]
    if unknown or missing:
        near = hint(unknown[0], folders) if unknown else ""
        raise DataError(
            f"{path}: class folders unknown {unknown}, without a name {missing}; "
            f"allowed: one line `folder = name` for each class folder{near}"
        )
    return tuple(pairs[f] for f in folders)


def count(path: Path) -> int:
    """How many class names a file holds, in either form.

    Raises:
        DataError: the file cannot be read, or has no line.
    """
    return len(_names(path, "data.classnames", "a text file"))


def listed(path: Path, *, published: bool = False) -> tuple[str, ...]:
    """Class names, one a line.

    Args:
        published: as they are given away, of which some may be empty.

    Raises:
        DataError: the file cannot be read, has no line, or an empty one before the last, or one `folder = name`, or
            its lines have numbers.
    """
    written = dict(_names(path, "class names", "a text file with one name a line"))
    names = tuple(written.get(number, "") for number in range(1, max(written) + 1))
    for number, name in enumerate(names, 1):
        if "=" in name or not (name or published):
            allowed = "a name in each line, whose number is its class"
            raise DataError(f"{path}, line {number}: {repr(name) if name else 'empty'}; allowed: {allowed}")
    _refuse_numbered(path, names, "the names alone")
    return names


def _in_order_of(path: Path, names: Sequence[str], folders: Sequence[str]) -> tuple[str, ...]:
    """Names in the order of folders, where it is beyond doubt which name is whose."""
    instead = "; allowed: lines `folder = name`"
    if len(names) != len(folders):
        raise DataError(f"{path}: {len(names)} class names; allowed: {len(folders)}, one for each class folder")
    ordered = sorted(folders, key=_by_numbers)
    if ordered != list(folders):
        first = next(f for f, g in zip(folders, ordered, strict=True) if f != g)
        raise DataError(f"{path}: one name a line, and folders not in the order of their numbers: {first}{instead}")
    if all(map(_is_number, folders)) and int(folders[-1]) - int(folders[0]) >= len(folders):
        raise DataError(f"{path}: one name a line, and folders whose numbers have gaps: {few(folders)}{instead}")
    plain = [_plain(folder) for folder in folders]
    for name, folder in zip(names, folders, strict=True):
        if _plain(name) in plain and _plain(name) != _plain(folder):
            raise DataError(f"{path}: {name!r} in the line of the folder {folder!r}, though it is another's{instead}")
    begun = [_begins_with(name, folders) for name in names]
    for name, first_word, folder in zip(names, begun, folders, strict=True):
        if first_word is not None and (first_word != folder or None not in begun):
            raise DataError(f"{path}: {name!r}, which begins with the folder {first_word!r}{instead}")
    if [_plain(name) for name in names] != plain:
        _refuse_numbered(path, names, "the names alone, or lines `folder = name`")
    return tuple(names)


def _refuse_numbered(path: Path, names: Sequence[str], allowed: str) -> None:
    """Refuse lines of which all begin with their number, from 0 or 1, or with a wnid, as parts of names."""
    begun = [found[1] for name in names if (found := NUMBERED.match(name))]
    numbers = [whole(word) for word in begun]
    counted = any(numbers == list(range(start, start + len(names))) for start in (0, 1))
    if counted or (len(begun) == len(names) and set(numbers) == {None}):
        raise DataError(f"{path}: {names[0]!r} and so on, each line with {begun[0]!r} or alike; allowed: {allowed}")


def _begins_with(name: str, folders: Sequence[str]) -> str | None:
    """The folder whose name and a separator a text begins with; None where there is none."""
    first = re.split(r"[\s,;:]", name, maxsplit=1)[0]
    return first if first != name and first in folders else None


def _names(path: Path, setting: str, allowed: str) -> list[tuple[int, str]]:
    """The lines of a file of class names by their numbers.

    Raises:
        DataError: as `_lines`, or a line is of a list or mapping of Python or JSON, or all are marked as of a list.
    """
    lines = _lines(path, setting, allowed)
    if all(MARKED.match(line) for _, line in lines):
        found = f"{lines[0][1]!r} and so on, each line with a mark as of a list"
        raise DataError(f"{path}: {found}; allowed: the names alone, or lines `folder = name`")
    for number, line in lines:
        _refuse_code(f"{path}, line {number}", line)
    return lines


def _refuse_code(where: str, name: str) -> None:
    if CODE.search(name):
        raise DataError(f"{where}: {name!r}, as in Python or JSON; allowed: the name alone, or `folder = name`")


def _is_number(folder: str) -> bool:
    return whole(folder) is not None


def _by_numbers(name: str) -> list[tuple[tuple[int, str, str], str]]:
    """A key that sorts the numbers in names by size."""
    parts = (part for part in re.split(r"([0-9]+)", name) if part)
    return [(by_size(part), "") if part.isdecimal() and part.isascii() else ((-1, "", ""), part) for part in parts]


def _plain(name: str) -> str:
    """A name as it is compared: small letters, blanks for what stands for them, without the s of a plural."""
    return re.sub(r"[\s_-]+", " ", name).strip().lower().removesuffix("s")


def _lines(path: Path, setting: str, allowed: str) -> list[tuple[int, str]]:
    """The lines of a file in UTF-8, with or without a byte order mark, that hold text, by their numbers; in NFC."""
    try:
        text = read_text(path, SIZE)
    except (OSError, ValueError) as error:
        more = f"{allowed}, in UTF-8, of at most {SIZE:,} bytes"
        raise DataError(f"{setting}: cannot read {path} ({why(error)}); allowed: {more}") from error
    stripped = (line.strip(BLANKS) for line in re.split("\r\n|\r|\n", text))
    lines = [(number, unicodedata.normalize("NFC", line)) for number, line in enumerate(stripped, 1)]
    for number, line in lines:
        if odd := oddity(line):
            raise DataError(f"{path}, line {number}: {line!a} with {odd}; allowed: {PLAIN}")
    written = [(number, line) for number, line in lines if line]
    if not written:
        raise DataError(f"{setting}: {path} is empty; allowed: {allowed} with at least one line")
    return written
