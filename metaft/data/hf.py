"""hf: tables of pictures that Hugging Face's `datasets` wrote to disk, or makes of folders with metadata.

Nothing is downloaded, and no code of a set run. Source: `Dataset.save_to_disk`, the parquet files of the hub and the
builder `imagefolder`, as huggingface.co/docs/datasets describes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from metaft.config.paths import Place
from metaft.config.schema import DataConfig
from metaft.data.arrow import MISSING, Table, splits_in
from metaft.data.layout import Layout, judges, needs_root, root_of
from metaft.data.stored import Files
from metaft.data.table import refuse_mistyped
from metaft.errors import DataError, Fault, few, hint

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed
    from metaft.data.types import ImageView, Splits

TEST = "ood_test"


class Options(Layout):
    """Settings of `data.format: hf`, under `data.options`: a path FOLDER/SPLIT for each split.

    Below `data.root` or absolute, FOLDER is what `save_to_disk` wrote, or holds files SPLIT.parquet or
    SPLIT-00000-of-00002.parquet, itself or in data/; SPLIT may also be a folder of such files, and the path one file;
    or SPLIT is a folder of pictures with metadata.csv, .jsonl or .parquet, whose columns are file_name (the pictures of
    `image`) and others such as label. (Class folders without metadata are of the format `folder`.)
    Without `id_val` a tenth of `id_train` is held out. `ood_test` maps names to paths; without it, splits of
    `data.root` that are called ood_test or ood_test_NAME are the tests. `more` maps names to the paths of further
    labelled images to train on. `image_key`, `label_key`, `domain_key` and `group_key` name columns: of pictures; of
    classes by name or number, where a ClassLabel gives names and order; and where they are given, of the domains of
    ood_val, and of the groups of all splits that judge (see `Split`).
    """

    id_train: Place = Path("train")
    id_val: Place | None = Path("validation")
    ood_val: Place = Path("ood_val")
    id_test: Place = Path("test")
    image_key: str = "image"
    label_key: str = "label"
    domain_key: str | None = None
    group_key: str | None = None


def needs(data: DataConfig) -> list[Fault]:
    """The faults of settings without a root folder, and of a machine without `datasets`."""
    return [*needs_root(data), *([] if find_spec("datasets") else [MISSING])]


def load(options: Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Open the tables; the class names of id_train, or its labels in order, give the labels.

    Raises:
        ConfigError: the package `datasets` is not installed.
        DataError: no such split or column, a file that cannot be read or is missing, a class unknown to id_train, a
            row without a picture or a class, an unreadable image.
    """
    from metaft.data.captions import class_names, templates
    from metaft.data.pictures import opened
    from metaft.data.trained import trained
    from metaft.data.types import Classes

    base = root_of(data)
    options = options.found(base)
    tests = options.ood_test or _tests(base)
    places = options.places({}, tests, ood_val=not data.corruptions)
    tables = {name: Table.at(base / path) for name, path in places.items()}
    classes = tables["id_train"].classes(options.label_key)
    refuse_mistyped(tables["id_train"].place, classes)
    names = class_names(data.classnames, classes)
    texts = templates(data.templates or "simple")
    listed = {name: _listed(name, table, classes, options) for name, table in tables.items()}
    return trained(opened(listed, Classes(names, texts, tuple(classes)), data, seed, view))


def _tests(base: Path) -> dict[str, Path]:
    """The splits ood_test and ood_test_NAME of a folder by name."""
    found = [split for split in splits_in(base) if re.fullmatch(rf"{TEST}([_.-].+)?", split)]
    if not found:
        raise DataError(f"{base}: no split {TEST} or {TEST}_NAME; allowed: one, or data.options.ood_test")
    return {split.removeprefix(TEST)[1:] or "all": Path(split) for split in found}


def _listed(name: str, table: Table, classes: Sequence[str], options: Options) -> Listed:
    """The pictures of a table."""
    from metaft.data.pictures import Listed

    numbers = {label: number for number, label in enumerate(classes)}
    texts = table.texts(options.label_key, "class")
    for row, text in enumerate(texts):
        if text not in numbers:
            allowed = f"{few(classes)}{hint(text, classes)}"
            raise DataError(f"{table.place}, row {row}: class {text!r} unknown to id_train; allowed: {allowed}")
    domains = table.texts(options.domain_key, "domain") if options.domain_key and name == "ood_val" else None
    groups = table.texts(options.group_key, "group") if options.group_key and judges(name) else None
    labels = [numbers[text] for text in texts]
    pictures = Files(table.pictures(options.image_key))
    return Listed(name, table.place, pictures, labels, table.left_out, domains, groups).once()
