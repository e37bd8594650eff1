"""Tables that Hugging Face's `datasets` wrote, or makes of folders: where splits lie, their columns and pictures."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from metaft.config.paths import as_on_disk
from metaft.data.classes import says_none
from metaft.data.described import CSV, METADATA, described
from metaft.data.stored import Files, Stored, name_of, version_of
from metaft.data.tree import folders, in_order, is_hidden, readable, walked
from metaft.errors import ConfigError, DataError, Fault, first_line, hint
from metaft.files import cache_folder, unwritable
from metaft.forms import form_at
from metaft.progress import quiet_log

MISSING = Fault("data.format", "hf, and no package datasets", 'another format; or pip install "metaft[hf]"')
STATE = "state.json"  # what a folder that save_to_disk wrote a split to holds
PARQUET = ".parquet"
UNLISTED = "in no row"


@dataclass(frozen=True)
class Table:
    """The rows of a split, a `datasets.Dataset`, the place that messages name, and what there is in no row."""

    place: Path
    rows: Any
    left_out: Counter[str] = field(default_factory=Counter)

    @classmethod
    def at(cls, place: Path) -> Table:
        """Open what lies at FOLDER/SPLIT.

        Raises:
            DataError: there is no such split, it has no rows, or its files cannot be read, or rewritten in the cache.
        """
        datasets = _package()
        saved, of_pictures = (place / STATE).is_file(), _has_metadata(place)
        files = [] if saved or of_pictures else _parquet_files(place)
        described_by = [place / name for name in METADATA if os.path.lexists(place / name)] if of_pictures else []
        try:
            for file in (*files, *described_by):
                _refuse_other(file)
            with quiet_log():
                if saved:
                    rows = datasets.load_from_disk(str(place), keep_in_memory=False)
                else:
                    rows = _of_folder(datasets, place) if of_pictures else _converted(datasets, files)
        except DataError:
            raise
        except Exception as error:  # of pyarrow, json or fsspec, or an own one whose cause is one of these
            reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            raise DataError(f"{place}: cannot be read ({reason}); allowed: whole files of at least one row") from error
        table = cls(place, rows)
        return table._counted() if of_pictures else table

    def refuse_without(self, name: str) -> None:
        """Raise a DataError where there is no such column."""
        if name not in self.rows.column_names:
            columns = self.rows.column_names
            raise DataError(f"{self.place}: no column {name!r}; allowed: {', '.join(columns)}{hint(name, columns)}")

    def classes(self, key: str) -> list[str]:
        """The classes in the order of their labels: a ClassLabel's names, or values, numbers by size."""
        self.refuse_without(key)
        return self.names(key) or in_order(set(self.texts(key, "class")))

    def names(self, key: str) -> list[str]:
        """The names that a column's numbers stand for; none where these stand for themselves."""
        return [normalize("NFC", name) for name in getattr(self.rows.features[key], "names", None) or ()]

    def texts(self, key: str, what: str) -> list[str]:
        """The values of a column of names or numbers as text.

        Raises:
            DataError: one is missing, or the column holds something else.
        """
        self.refuse_without(key)
        names, values = self.names(key), self.rows.select_columns([key])[:][key]
        for row, value in enumerate(values):
            if value in (None, "") or (what == "class" and says_none(str(value))):
                raise DataError(f"{self.place}, row {row}: no {what}; allowed: one in each row of {key!r}")
            if not isinstance(value, int | str) or isinstance(value, bool):
                raise DataError(f"{self.place}, row {row}: {value!r} in {key!r}; allowed: names or whole numbers")
            if names and value not in range(len(names)):
                raise DataError(f"{self.place}, row {row}: {value} in {key!r}; allowed: 0 to {len(names) - 1}")
        return [normalize("NFC", names[value] if names else str(value)) for value in values]

    def pictures(self, key: str) -> list[Stored]:
        """The pictures of a column: bytes in the table, or files that it names, beside it or absolute.

        Raises:
            DataError: the column holds no pictures, or a row none.
        """
        from pyarrow import compute

        self.refuse_without(key)
        try:
            kept = self.rows.select_columns([key]).cast_column(key, _package().Image(decode=False))
        except Exception as error:  # of pyarrow, by the type of the column
            found = f"{key!r} is a column of {self.rows.features[key]}"
            raise DataError(f"{self.place}: {found}; allowed: pictures, their bytes or their paths") from error
        column = kept.with_format("arrow")[:].column(key)  # sizes are read without what they are the sizes of
        sizes = compute.binary_length(compute.struct_field(column, "bytes")).to_pylist()
        paths = compute.struct_field(column, "path").to_pylist()
        version = "\0".join(version_of(Path(file["filename"])) for file in self.rows.cache_files)
        cells = Cells(self.place, key, kept, version)
        return [self._picture(cells, *found) for found in zip(range(len(sizes)), sizes, paths, strict=True)]

    def _counted(self) -> Table:
        """The table of a folder, with the number of files there that are in no row."""
        from metaft.data.pictures import sorted_out

        found = walked(self.place.absolute())
        found.files = Files(file for file in found.files.kept if name_of(file) not in METADATA)
        pictures = sorted_out(found)
        columns = [name for name, kind in self.rows.features.items() if isinstance(kind, _package().Image)]
        listed = {
            as_on_disk(picture) for column in columns for picture in self.pictures(column) if isinstance(picture, Path)
        }
        unlisted = sum(file not in listed for file in pictures.files)
        return replace(self, left_out=pictures.left_out + Counter({UNLISTED: unlisted}))

    def _picture(self, cells: Cells, row: int, size: int | None, path: str | None) -> Stored:
        if size is not None:
            return Cell(cells, row, size)
        if path is None:
            raise DataError(f"{self.place}, row {row}: no picture; allowed: one in each row of {cells.key!r}")
        return self.place.parent / path


class Cells(NamedTuple):
    """A column of pictures as bytes, and a text that is another one for other files."""

    place: Path
    key: str
    rows: Any
    version: str


@dataclass(frozen=True, slots=True)  # there may be millions
class Cell:
    """The bytes of a picture in a row of a table."""

    cells: Cells
    row: int
    size: int

    def __str__(self) -> str:
        """As messages call it."""
        return f"{self.cells.place}, row {self.row}"

    @property
    def version(self) -> str:
        """The table's, and the row."""
        return f"{self.cells.version}\0{self.row}"

    def read(self) -> bytes:
        """The bytes."""
        content: bytes = self.cells.rows[self.row][self.cells.key]["bytes"]
        return content


def _package() -> Any:
    """The package `datasets`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise ConfigError([MISSING]) from None
    return datasets


def _refuse_other(file: Path) -> None:
    """Refuse a parquet file, or metadata, that is none, by its first bytes."""
    form = form_at(file)
    if form is not None:
        allowed = "a parquet file" if file.suffix == PARQUET else "a text with at least one row"
        raise DataError(f"{file}: {form}; allowed: {allowed}")


def _converted(datasets: Any, files: Sequence[Path]) -> Any:
    """The rows of parquet files, which are rewritten once as a file that rows can be read from one by one."""
    datasets.disable_progress_bars()  # they would be shown where no terminal is, and with --quiet
    return datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=_cache(), keep_in_memory=False)


def _of_folder(datasets: Any, place: Path) -> Any:
    """The rows that the builder `imagefolder` makes of a folder: those of its metadata, texts as they were typed."""
    if (place / CSV).is_file():
        columns, pictures = described(place)
        kinds = {name: datasets.Image() if name in pictures else datasets.Value("string") for name in columns}
        return datasets.Dataset.from_dict(columns, datasets.Features(kinds))
    datasets.disable_progress_bars()
    return datasets.load_dataset(
        "imagefolder",
        data_files={"train": f"{escape(str(place.absolute()))}/**"},  # else folders of names such as test are splits
        split="train",
        cache_dir=_cache(),
        keep_in_memory=False,
    )


def _cache() -> str:
    """The folder in which tables are rewritten.

    Raises:
        DataError: it cannot be made or written to.
    """
    folder = cache_folder() / "datasets"
    if reason := unwritable(folder):
        raise DataError(f"METAFT_CACHE: {reason}; allowed: a folder, to rewrite tables in")
    return str(folder)


def _has_metadata(place: Path) -> bool:
    """Whether a folder is one of pictures that metadata describes."""
    return any(os.path.lexists(place / name) for name in METADATA)


def _parquet_files(place: Path) -> list[Path]:
    """The files of a split: one, a folder of them, or those of the split's name, all of as many as their names say.

    Raises:
        DataError: there are none, not all, or those of several splits.
    """
    if place.suffix == PARQUET and place.is_file():
        return [place]
    files = _parquet_in(place) or [file for file in _beside(place.parent) if _split_of(file) == place.name]
    several = sorted({split for split in map(_split_of, files) if not split.isdigit()})
    if len(several) > 1:
        raise DataError(f"{place}: files of {', '.join(several)}; allowed: one split, as in {place / several[0]}")
    if not files:
        splits = splits_in(place.parent)
        allowed = ", ".join(splits) or "a split that save_to_disk wrote, or files SPLIT.parquet"
        raise DataError(f"{place}: no such split; allowed: {allowed}{hint(place.name, splits)}")
    said = {int(of[1]) for file in files if (of := re.search(r"-of-(\d+)", file.stem))}
    if said and said != {len(files)}:
        raise DataError(f"{place}: {len(files)} files, of {max(said)} by their names; allowed: all of them")
    return files


def splits_in(folder: Path) -> list[str]:
    """The names of the splits in a folder."""
    saved = [name for name, path in folders(folder).items() if (path / STATE).is_file()]
    full = [name for name, path in folders(folder).items() if name != "data" and _parquet_in(path)]
    pictured = [name for name, path in folders(folder).items() if _has_metadata(path)]
    return sorted({*saved, *full, *pictured, *map(_split_of, _beside(folder))})


def _beside(folder: Path) -> list[Path]:
    """The parquet files in a folder, or as on the hub in data/ there."""
    return _parquet_in(folder) or _parquet_in(folder / "data")


def _parquet_in(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.glob(f"*{PARQUET}")) if not is_hidden(path.name)]
    for path in found:
        readable(path)
    return found


def _split_of(file: Path) -> str:
    """The split that a file's name says: `train` in train.parquet and in train-00000-of-00002-1a2b.parquet."""
    return re.sub(r"-\d{5}-of-\d{5}(-\w+)?$", "", file.stem)
