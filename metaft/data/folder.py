"""folder: the user's own pictures, as `root/SPLIT/class/image` or an explicit path for each split."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaft.config.schema import DataConfig
from metaft.data.layout import Layout, missing, root_of, unlike
from metaft.data.sets.trees import pooled
from metaft.data.stored import Files
from metaft.data.tree import entries_beside, folders, refuse_nested, walked
from metaft.errors import DataError, few, hint

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed
    from metaft.data.types import ImageView, Splits


OF_CLASSES = "a folder with one folder for each class"


class Options(Layout):
    """Settings of `data.format: folder`, under `data.options`: the path of each split, below `data.root` or absolute.

    Without `id_val` a tenth of `id_train` is held out. `ood_val` may hold the class folders, or a folder of class
    folders for each domain; with `data.corruptions` it is not opened. So may `id_val` and tests. `ood_test` maps names
    to paths; without it, every folder in `root/ood_test` that holds class folders is one test, and so is one of
    domains. `more` maps names to the paths of further labelled images to train on. Groups need a table: see
    `metaft.data.csv`.
    """


def load(options: Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Read the tree; the class folders of id_train, numbers by their size and others by their letters, give the labels.

    Raises:
        DataError: a missing folder, an empty class, a class unknown to id_train or in another one's folder, an
            unreadable image.
    """
    from metaft.data.captions import class_names, templates
    from metaft.data.pictures import opened
    from metaft.data.types import Classes

    base, classnames = root_of(data), data.classnames
    options = options.found(base)
    if not (base / options.id_train).is_dir():
        raise DataError(unlike(base / options.id_train, data))
    classes = list(_class_folders(base / options.id_train))
    tests = options.ood_test or _discover(base / "ood_test", classes)
    if classnames is None and os.path.lexists(base / "classnames.txt"):
        classnames = base / "classnames.txt"
    names = class_names(classnames, classes)
    texts = templates(data.templates or "simple")
    if not (data.corruptions or (base / options.ood_val).is_dir()):
        where = f"{OF_CLASSES}, or data.corruptions, with which ID images stand in for them"
        raise DataError(f"{missing(base / options.ood_val)}; allowed: {where}")
    if options.id_val is not None and not (base / options.id_val).is_dir():
        where = f"{OF_CLASSES}, or data.options.id_val=null, which holds out a tenth of id_train"
        raise DataError(f"{missing(base / options.id_val)}; allowed: {where}")
    domains = {} if data.corruptions else _domains(base / options.ood_val, classes)
    places = options.places(domains, tests, ood_val=not data.corruptions)
    listed = {name: _split(name, base / path, classes) for name, path in places.items()}
    return opened(listed, Classes(names, texts, tuple(classes)), data, seed, view)


def _class_folders(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        raise DataError(f"{missing(path)}; allowed: {OF_CLASSES}")
    inner = folders(path)
    if not inner:
        raise DataError(f"{path}: no class folders; allowed: one folder for each class, with its images")
    return inner


def _domains(path: Path, classes: list[str]) -> dict[str, Path]:
    """The folders of a split by domain, where one of them holds a class folder; none where the split holds these."""
    inner = folders(path)
    if {*inner} <= {*classes}:  # whatever a class's folder holds
        return {}
    return _absolute(inner) if any({*folders(folder)} & {*classes} for folder in inner.values()) else {}


def _absolute(paths: dict[str, Path]) -> dict[str, Path]:
    return {name: path.absolute() for name, path in paths.items()}


def _discover(path: Path, classes: list[str]) -> dict[str, Path]:
    """Test sets under `ood_test` by name: its folders of class folders, or itself as `all` if it holds the classes."""
    if not path.is_dir():
        raise DataError(f"{missing(path)}; allowed: ood_test/NAME/class/image, or data.options.ood_test")
    inner = folders(path)
    flat = not inner or {*inner} & {*classes}
    return _domains(path, classes) or ({"all": path.absolute()} if flat else _absolute(inner))


def _split(name: str, path: Path, classes: list[str]) -> Listed:
    """The pictures of a split's class folders, or of those of each of its domains, where it judges."""
    domains = _domains(path, classes) if name in ("id_val", "id_test") or name.startswith("ood_test/") else {}
    if not domains:
        return _listed(name, path, classes)
    together = pooled(name, path, [(domain, _listed(name, inner, classes)) for domain, inner in domains.items()])
    return replace(together, left_out=together.left_out + entries_beside(path))


def _listed(name: str, path: Path, classes: list[str]) -> Listed:
    """The pictures of a split's class folders."""
    from metaft.data.pictures import Listed, sorted_out

    inner = _class_folders(path)
    for folder in inner:
        if folder not in classes:
            allowed = f"{few(classes)}{hint(folder, classes)}"
            raise DataError(f"{name}: {path / folder}: class unknown to id_train; allowed: {allowed}")
    found = {folder: sorted_out(walked(place)) for folder, place in inner.items()}
    for folder, of_class in found.items():
        refuse_nested(inner[folder], of_class.files, classes)
    left_out = sum((of_class.left_out for of_class in found.values()), entries_beside(path))
    empty = [folder for folder, of_class in found.items() if not of_class.files]
    if empty:
        others = f" (other files: {', '.join(left_out)})" if left_out else ""
        raise DataError(f"{path}: no images in class {', '.join(empty)}{others}; allowed: at least one in each class")
    files = Files(file for of_class in found.values() for file in of_class.files.kept)
    labels = [label for folder, of_class in found.items() for label in [classes.index(folder)] * len(of_class.files)]
    return Listed(name, path, files, labels, left_out)
