"""Tables in text files: a header, then lines, tab or comma between their cells."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TypeVar

from metaft.errors import DataError, few, hint
from metaft.forms import form_at
from metaft.texts import read_text, whole

T = TypeVar("T")
ALLOWED = "a file in UTF-8, columns with a tab or comma between them"


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
        if path.stat().st_size and (form := form_at(path)):
            raise DataError(f"{path}: {form}; allowed: {ALLOWED}")
        file = StringIO(read_text(path), newline="")
        first = file.readline()
        file.seek(0)
        lines = csv.reader(file, delimiter="\t" if "\t" in first else ",", strict=True, skipinitialspace=True)
        header = [name.strip() for name in next(lines, [])]
        cells = [(lines.line_num, [cell.strip() for cell in line]) for line in lines if any(line)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: no table that can be read ({error}); allowed: {ALLOWED}") from error
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
