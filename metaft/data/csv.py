"""csv: pictures listed in tables, one for each split or one for all, with the keys that open_clip's own reader has."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metaft.config.paths import Place, as_on_disk, named
from metaft.config.schema import DataConfig
from metaft.data.classes import says_none
from metaft.data.layout import judges, plainly_named
from metaft.data.stored import Files
from metaft.data.table import Line, read_table, refuse_mistyped, written
from metaft.data.tree import in_order
from metaft.errors import DataError, Fault, few, hint
from metaft.texts import PLAIN, oddity

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed
    from metaft.data.types import ImageView, Splits

SPLITS = ("id_train", "id_val", "ood_val", "id_test")
TEST = "ood_test/"


class Options(BaseModel):
    """Settings of `data.format: csv`, under `data.options`: tables, tab or comma between their columns.

    `file` is one table of all splits, whose column `split_key` says id_train, id_val, ood_val, id_test or
    ood_test/NAME; or each split has a table of its own, and `ood_test` maps names to tables. Paths are below
    `data.root`, those in a table beside the table, or absolute. Labels are class names, or numbers from 0; without
    `id_val` a tenth of `id_train` is held out. `domain_key` and `group_key` name the domain and the group of an image
    (see `Split`), where the table has these columns: in each row of a split, or in none. Rows of ood_val are neither
    needed nor opened with `data.corruptions`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    file: Place | None = None
    id_train: Place | None = None
    id_val: Place | None = None
    ood_val: Place | None = None
    id_test: Place | None = None
    ood_test: dict[str, Place] = Field(default_factory=dict)
    image_key: str = "filepath"
    label_key: str = "label"
    split_key: str = "split"
    domain_key: str = "domain"
    group_key: str = "group"

    @field_validator("ood_test")
    @classmethod
    def _plain(cls, value: dict[str, Path]) -> dict[str, Path]:
        return plainly_named(value)


def needs_tables(data: DataConfig) -> list[Fault]:
    """The fault of settings that give neither a table of all splits nor those that each of them needs."""
    options = data.options
    needed = ("id_train", *(() if data.corruptions else ("ood_val",)), "id_test", "ood_test")
    if "file" in options or all(name in options for name in needed):
        return []
    return [Fault("data.options", ", ".join(options) or "nothing given", f"file, or {', '.join(needed)}")]


class Row(NamedTuple):
    """A line of a table: its number, an image's path, and what the columns say of it."""

    line: int
    image: Path
    label: str
    split: str
    domain: str
    group: str


class Table(NamedTuple):
    """Rows, of a split or of all, the file that they are in, and its columns."""

    path: Path
    rows: Sequence[Row]
    columns: Sequence[str]


def load(options: Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Read the tables; the classes of id_train, numbers by their size and others by their letters, give the labels.

    Raises:
        DataError: a missing table or column, a class unknown to id_train, a label out of range, an unreadable image.
    """
    from metaft.data.captions import class_names, templates
    from metaft.data.pictures import opened
    from metaft.data.types import Classes

    tables = _tables(options, data.root or Path(), needs_ood_val=not data.corruptions)
    classes = in_order({row.label for row in tables["id_train"].rows})
    refuse_mistyped(tables["id_train"].path, classes)
    names = class_names(data.classnames, classes)
    texts = templates(data.templates or "simple")
    listed = {name: _listed(name, table, classes) for name, table in tables.items()}
    return opened(listed, Classes(names, texts, tuple(classes)), data, seed, view)


def _tables(options: Options, base: Path, *, needs_ood_val: bool) -> dict[str, Table]:
    """The table of each split; ood_val is left out where it is not needed.

    Raises:
        DataError: a table that cannot be read, a split that is not known or has no row.
    """
    needed = [name for name in SPLITS if needs_ood_val or name != "ood_val"]
    own = {name: path for name in needed if (path := getattr(options, name)) is not None}
    own |= {f"{TEST}{name}": path for name, path in options.ood_test.items()}
    tables = {name: _table(base / path, options) for name, path in own.items()}
    if options.file is not None:
        tables |= _by_split(base / options.file, options)
    if not needs_ood_val:
        tables.pop("ood_val", None)
    optional = ("id_val",) if needs_ood_val else ("id_val", "ood_val")
    missing = [name for name in SPLITS if name not in tables and name not in optional]
    missing += [] if any(name.startswith(TEST) for name in tables) else [f"{TEST}NAME"]
    if missing:
        instead = ", or data.corruptions in place of ood_val" if "ood_val" in missing else ""
        raise DataError(f"data.options: no rows of {', '.join(missing)}; allowed: at least one row of each{instead}")
    _refuse_absent(options, tables)
    return tables


def _refuse_absent(options: Options, tables: Mapping[str, Table]) -> None:
    """Refuse a column that was asked for by a name of its own, which no table has."""
    columns = dict.fromkeys(column for table in tables.values() for column in table.columns)
    for field in ("domain_key", "group_key"):
        key = getattr(options, field)
        if key != Options.model_fields[field].default and key not in columns:
            allowed = f"one of {', '.join(columns)}{hint(key, columns)}"
            raise DataError(f"data.options.{field}: {key!r}, which no table has; allowed: {allowed}")


def _by_split(path: Path, options: Options) -> dict[str, Table]:
    """The rows of a table by their split."""
    found: dict[str, list[Row]] = {}
    table = _table(path, options, options.split_key)
    for row in table.rows:
        if row.split not in SPLITS and (not row.split.startswith(TEST) or row.split == TEST):
            near = "" if TEST.startswith(row.split) else hint(row.split, SPLITS)
            allowed = f"{', '.join(SPLITS)}, {TEST}NAME{near}"
            raise DataError(f"{path}, line {row.line}: the split {row.split!r}; allowed: {allowed}")
        found.setdefault(row.split, []).append(row)
    return {name: table._replace(rows=rows) for name, rows in found.items()}


def _table(path: Path, options: Options, *more: str) -> Table:
    """A table that has the columns of images and labels, and these."""
    path = as_on_disk(path)
    lines = read_table(path, (options.image_key, options.label_key, *more))
    return Table(path, [_row(path, line, options) for line in lines], list(lines[0].cells))


def _row(path: Path, line: Line, options: Options) -> Row:
    """A line's image, label, split, domain and group."""
    image, label = (line.cells[key] for key in (options.image_key, options.label_key))
    if not image or not label:
        empty = options.label_key if image else options.image_key
        raise DataError(f"{path}, line {line.number}: nothing in the column {empty!r}; allowed: a value in each row")
    if says_none(label):
        raise DataError(
            f"{path}, line {line.number}: the label {label!r}, as of an image without one; allowed: a class"
        )
    for key in (options.label_key, options.split_key, options.domain_key, options.group_key):
        if odd := oddity(line.cells.get(key, "")):
            found = f"{line.cells[key]!a} in the column {key!r}, with {odd}"
            raise DataError(f"{path}, line {line.number}: {found}; allowed: {PLAIN}")
    more = (line.cells.get(key, "") for key in (options.split_key, options.domain_key, options.group_key))
    names = (unicodedata.normalize("NFC", text) for text in (written(label), *more))
    return Row(line.number, named(image, path.parent), *names)


def _listed(name: str, table: Table, classes: list[str]) -> Listed:
    """The pictures of a table, each once.

    Raises:
        DataError: a class unknown to id_train, an image of two classes, rows with and without a domain or a group.
    """
    from metaft.data.listed import AGAIN, Listed

    by_image: dict[Path, Row] = {}
    for row in table.rows:
        if row.label not in classes:
            found = f"class {row.label!r} unknown to id_train"
            raise DataError(f"{table.path}, line {row.line}: {found}; allowed: {_known(row.label, classes)}")
        before = by_image.setdefault(Path(os.path.normpath(row.image)), row)
        for what, one in (("label", "class"), ("domain", "domain"), ("group", "group")):
            found, known = (getattr(r, what) for r in (row, before))
            if found != known:
                twice = f"{row.image} as {found!r}, {known!r} in line {before.line}"
                raise DataError(f"{table.path}, line {row.line}: {twice}; allowed: one {one}")
    rows = list(by_image.values())
    return Listed(
        name,
        table.path,
        Files(row.image for row in rows),
        [classes.index(row.label) for row in rows],
        Counter({AGAIN: len(table.rows) - len(rows)}),
        _named(name, table, {row.line: row.domain for row in rows}, "domain"),
        _named(name, table, {row.line: row.group for row in rows}, "group"),
    )


def _known(label: str, classes: Sequence[str]) -> str:
    """The classes that a label may be, in a few words."""
    if list(classes) == [str(number) for number in range(len(classes))]:
        return f"0 to {len(classes) - 1}"
    return few(classes) + hint(label, classes)


def _named(split: str, table: Table, by_line: Mapping[int, str], what: str) -> list[str] | None:
    """The domain, or group, of each row of a split that judges; None where none has one."""
    without = [line for line, name in by_line.items() if not name]
    if not judges(split) or len(without) == len(by_line):
        return None
    if without:
        raise DataError(f"{table.path}, line {without[0]}: no {what}; allowed: one in each row of {split}, or in none")
    return list(by_line.values())
