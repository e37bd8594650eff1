"""Tables in text files: a header, then lines, tab or comma between their cells."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from metaft.errors import DataError, few, hint, why
from metaft.forms import HEAD, Form, form_of
from metaft.texts import read_text, regular, whole

T = TypeVar("T")
ALLOWED = "a file in UTF-8, columns with a tab or comma between them"
MARKS = ("\t", ",")
EXCEL = re.compile(r'(?i)\s*"?sep=([\t,])"?\s*')  # a first line that says what is between columns
BESIDE = "or as metadata.jsonl beside the pictures for data.format=hf"
FORMS = (  # of tables that are no text, or of another
    (re.compile(rb"PAR1"), Form("a parquet file", "data.format=hf reads it")),
    (re.compile(rb"ARROW1|\xff\xff\xff\xff"), Form("a file of Arrow", "data.format=hf reads what save_to_disk wrote")),
    (re.compile(rb"\xd0\xcf\x11\xe0"), Form("a workbook of Excel", "save it as CSV")),
    (re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"'), Form("lines of JSON", f"save them as CSV, {BESIDE}")),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*[\[{]"), Form("JSON", "save it as CSV")),
)


class Line(NamedTuple):
    """The cells of a line by column, and its number in the file."""

    number: int
    cells: Mapping[str, str]


def read_table(path: Path, columns: Sequence[str]) -> list[Line]:
    """The lines of a table that has these columns among others.

    Raises:
        DataError: the file is no such table, a line has more or fewer cells than the header, or there is no line.
    """
    try:
        if path.stat().st_size and (form := _form(path)):
            raise DataError(f"{path}: {form}; allowed: {ALLOWED}")
        header, cells = _split(read_text(path), columns)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: no table that can be read ({why(error)}); allowed: {ALLOWED}") from error
    _refuse_header(path, header)
    for name in columns:
        if name not in header:
            found = f"the columns {', '.join(header)}{hint(name, header)}" if header else "those of a first line"
            allowed = f"it among {found}"
            raise DataError(f"{path}: no column {name!r}; allowed: {allowed}")
    if not cells:
        raise DataError(f"{path}: no rows; allowed: at least one")
    for number, line in cells:
        if len(line) != len(header):
            raise DataError(f"{path}, line {number}: {len(line)} fields; allowed: {len(header)}, one for each column")
    return [Line(number, dict(zip(header, line, strict=True))) for number, line in cells]


def _form(path: Path) -> Form | None:
    """What a file is in place of a text with columns; None: nothing says so."""
    with regular(path).open("rb") as file:
        head = file.read(HEAD)
    return form_of(head) or next((form for begins, form in FORMS if begins.match(head)), None)


def _split(text: str, columns: Sequence[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a table and its other lines that hold something, by their numbers.

    Between columns is what a first line of Excel's says, or else the mark that gives the columns that are wanted, or
    several, the tab before the comma.

    Raises:
        csv.Error: a line that is none of a table.
    """
    first, _, rest = text.partition("\n")
    said = EXCEL.fullmatch(first)
    if said is not None:
        header, cells = _cells(rest, said[1])
        return header, [(number + 1, line) for number, line in cells]

    def fits(mark: str) -> tuple[bool, bool]:
        names = {*_names(text, mark)} - {""}
        return names >= {*columns}, len(names) > 1

    return _cells(text, max(MARKS, key=fits) if "\t" in first else ",")


def _names(text: str, mark: str) -> list[str]:
    """The names in the first line of a table with this mark between them; none where it is no such line."""
    with suppress(csv.Error):
        return [name.strip() for name in next(_reader(text, mark), [])]
    return []


def _cells(text: str, mark: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The cells of the first line, and of each other that holds something with its number."""
    lines = _reader(text, mark)
    header = [name.strip() for name in next(lines, [])]
    return header, [(lines.line_num, [cell.strip() for cell in line]) for line in lines if any(line)]


def _reader(text: str, mark: str) -> Any:
    return csv.reader(StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=True)


def number_in(cells: Mapping[str, str], column: str) -> int:
    """The whole number in a column of a line.

    Raises:
        ValueError: there is none.
    """
    number = whole(cells[column])
    if number is None:
        raise ValueError(f"{cells[column]!r} in the column {column!r}; allowed: a whole number")
    return number


def text_in(cells: Mapping[str, str], column: str) -> str:
    """The text in a column of a line.

    Raises:
        ValueError: there is none.
    """
    if not cells[column]:
        raise ValueError(f"nothing in the column {column!r}; allowed: a value in each row")
    return cells[column]


def known_in(cells: Mapping[str, str], column: str, known: Mapping[str, T]) -> T:
    """What the text in a column of a line stands for.

    Raises:
        ValueError: it is not known.
    """
    text = cells[column]
    if text not in known:
        raise ValueError(f"{text!r} in the column {column!r}; allowed: {few(list(known))}{hint(text, known)}")
    return known[text]


def _refuse_header(path: Path, header: Sequence[str]) -> None:
    """Refuse columns of one name, or another separator than those that are read."""
    for name, count in Counter(header).items():
        if count > 1:
            what = f"columns {name!r}" if name else "columns without a name, as of commas at the ends of lines"
            raise DataError(f"{path}: {count} {what}; allowed: one")
    mark = next((mark for mark in ";|" if len(header) == 1 and mark in header[0]), None)
    if mark is not None:
        raise DataError(f"{path}: {mark!r} between the columns; allowed: a tab or comma")


def written(cell: str) -> str:
    """The text of a cell, as it was typed, but for a whole number with an empty fraction.

    Programs write such numbers in a column in which one is missing.

    >>> written("007"), written("3.0"), written("v3.0")
    ('007', '3', 'v3.0')
    """
    number = re.fullmatch(r"([0-9]+)\.0*", cell)
    return number[1] if number else cell


def refuse_mistyped(path: Path, classes: Sequence[str]) -> None:
    """Refuse quotes that are no marks of the table but part of a class, and a number in two ways, as two classes."""
    numbers: dict[int, str] = {}
    for name in classes:
        if name.startswith(("'", '"')) and name[0] == name[-1]:
            raise DataError(f"{path}: the label {name}, of which the quotes are a part; allowed: labels without")
        number = whole(name)
        if number is not None and numbers.setdefault(number, name) != name:
            raise DataError(
                f"{path}: the labels {numbers[number]!r} and {name!r}; allowed: each number written in one way"
            )
