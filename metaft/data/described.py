"""Tables beside the pictures of a folder, `metadata.csv`, each cell the text that was typed.

The package `datasets` has pandas read them, which makes the number 7 of a class 007, and no class of NA or None. The
columns, where pictures lie and what is refused are as in its builder `imagefolder`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metaft.data.table import Line, read_table, written
from metaft.data.tree import walked
from metaft.errors import DataError

CSV = "metadata.csv"
METADATA = (CSV, "metadata.jsonl", "metadata.parquet")  # of a folder of pictures
FILE_NAME = "file_name"  # the column of pictures `image`; NAME_file_name is that of pictures NAME
PICTURE = "image"


class Described(NamedTuple):
    """The columns of a folder's tables, and which of them are paths of pictures; None for a cell without one."""

    columns: dict[str, list[str | None]]
    pictures: tuple[str, ...]


def described(folder: Path) -> Described:
    """The rows of all tables in a folder and below it, in the order of their paths.

    Raises:
        DataError: one is no table, has no column of pictures, other columns than the first, or a path that leads out
            of its folder; or there is metadata of another form beside them.
    """
    files = [file for file in walked(folder.absolute()).paths if file.name in METADATA]
    other = next((file for file in files if file.name != CSV), None)
    if other is not None:
        raise DataError(f"{other}: beside {folder / CSV}; allowed: metadata of one form in a folder")
    tables = {file: read_table(file, ()) for file in files}
    first = list(tables[files[0]][0].cells)
    named = {name: _named(name) for name in first}
    pictures = tuple(name for column, name in named.items() if name != column)
    if not pictures:
        allowed = f"{FILE_NAME} among the columns, or NAME_{FILE_NAME}"
        raise DataError(f"{files[0]}: the columns {', '.join(first)}; allowed: {allowed}")
    for file, lines in tables.items():
        if (found := list(lines[0].cells)) != first:
            allowed = f"{', '.join(first)}, as in {files[0]}"
            raise DataError(f"{file}: the columns {', '.join(found)}; allowed: {allowed}")
    rows = [(file, line) for file, lines in tables.items() for line in lines]
    columns = {
        name: [_picture(file, line, column) if name in pictures else written(line.cells[column]) for file, line in rows]
        for column, name in named.items()
    }
    return Described(columns, pictures)


def _named(column: str) -> str:
    """The name that a column has in the set."""
    if column == FILE_NAME:
        return PICTURE
    return column.removesuffix(f"_{FILE_NAME}") or column


def _picture(file: Path, line: Line, column: str) -> str | None:
    """The path of a picture; None where the cell is empty."""
    text = line.cells[column]
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "://" in text:
        found = f"{text!r} in the column {column!r}, which leads out of the folder"
        raise DataError(f"{file}, line {line.number}: {found}; allowed: a path below it")
    return str(file.parent / path) if text else None
