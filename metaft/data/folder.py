"""folder: the user's own pictures, as `root/SPLIT/class/image` or an explicit path for each split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metaft.config.schema import DataConfig
from metaft.data.sources import NAMES, usable
from metaft.errors import DataError, Fault, nearest

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.types import ImageView, Split, Splits

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


class Options(BaseModel):
    """Settings of `data.format: folder`, under `data.options`: the path of each split, below `data.root` or absolute.

    Without `id_val` a tenth of `id_train` is held out. `ood_val` may hold the class folders, or a folder of class
    folders for each domain. `ood_test` maps names to paths; without it, every folder in `root/ood_test` that holds
    class folders is one test. `more` maps names to the paths of further labelled images to train on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id_train: Path = Path("id_train")
    id_val: Path | None = Path("id_val")
    ood_val: Path = Path("ood_val")
    id_test: Path = Path("id_test")
    ood_test: dict[str, Path] = Field(default_factory=dict)
    more: dict[str, Path] = Field(default_factory=dict)

    @field_validator("more")
    @classmethod
    def _named(cls, value: dict[str, Path]) -> dict[str, Path]:
        odd = [name for name in value if not usable(name)]
        if odd:
            raise ValueError(f"names of {NAMES}, not {', '.join(map(repr, odd))}")
        return value


def needs_root(data: DataConfig) -> list[Fault]:
    """The fault of settings that give neither a root folder nor a path of id_train."""
    if data.root is None and "id_train" not in data.options:
        return [Fault("data.root", "nothing given", "the folder of your splits, or a path for each in data.options")]
    return []


def load(options: Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Read the tree; the class folders of id_train, sorted, give the labels.

    Raises:
        DataError: a missing folder, an empty class, a class unknown to id_train, an unreadable image.
    """
    from metaft.data.captions import class_names, templates
    from metaft.data.types import Classes, Splits, concatenated, hold_out

    base, classnames = data.root or Path(), data.classnames
    if not base.is_dir():
        raise DataError(f"data.root: {_missing(base)}; allowed: the folder that holds your splits")
    folders = _class_folders(base / options.id_train)
    tests = options.ood_test or _discover(base / "ood_test")
    if classnames is None and (base / "classnames.txt").is_file():
        classnames = base / "classnames.txt"
    names = class_names(classnames, folders) if classnames else tuple(f.replace("_", " ") for f in folders)

    def read(name: str, path: Path) -> Split:
        return _read_split(name, base / path, folders, view, data.on_unreadable == "skip")

    train = read("id_train", options.id_train)
    if options.id_val is None:
        train, id_val = hold_out(train, seed)
    else:
        id_val = read("id_val", options.id_val)
    domains = _domains(base / options.ood_val, folders)
    parts = [(domain, read(f"ood_val/{domain}", path)) for domain, path in domains.items()]
    return Splits(
        id_train=train,
        id_val=id_val,
        ood_val=concatenated("ood_val", parts) if parts else read("ood_val", options.ood_val),
        tests={
            "id_test": read("id_test", options.id_test),
            **{f"ood_test/{name}": read(f"ood_test/{name}", path) for name, path in tests.items()},
        },
        classes=Classes(names, templates(data.templates or "simple")),
        more={name: read(f"more/{name}", path) for name, path in options.more.items()},
    )


def _missing(path: Path) -> str:
    """A message that a folder does not exist, and which one beside it may be meant."""
    beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    return f"{path}: no such folder" + (f" (nearest: {near!r})" if near else "")


def _class_folders(path: Path) -> list[str]:
    if not path.is_dir():
        raise DataError(f"{_missing(path)}; allowed: a folder with one folder for each class")
    folders = [p.name for p in _inner(path)]
    if not folders:
        raise DataError(f"{path}: no class folders; allowed: one folder for each class, with its images")
    return folders


def _inner(path: Path) -> list[Path]:
    """The folders in a folder, sorted; none where it is not there."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")) if path.is_dir() else []


def _domains(path: Path, classes: list[str]) -> dict[str, Path]:
    """The folders of a split by domain, where one of them holds a class folder; none where the split holds these."""
    inner, known = {p.name: p.absolute() for p in _inner(path)}, {*classes}
    return inner if any(q.name in known and q.is_dir() for p in inner.values() for q in p.iterdir()) else {}


def _discover(path: Path) -> dict[str, Path]:
    """Test sets under `ood_test` by name: its folders of class folders, or itself as `all` if it holds the classes."""
    if not path.is_dir():
        raise DataError(f"{_missing(path)}; allowed: ood_test/NAME/class/image, or data.options.ood_test")
    nested = {p.name: p.absolute() for p in _inner(path) if any(q.is_dir() for q in p.iterdir())}
    return nested or {"all": path.absolute()}


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def _read_split(name: str, path: Path, classes: list[str], view: ImageView, skip: bool) -> Split:
    import torch

    from metaft.data.pictures import open_pictures
    from metaft.data.types import Split

    folders = _class_folders(path)
    for folder in folders:
        if folder not in classes:
            near = nearest(folder, classes)
            raise DataError(f"{name}: {path / folder}: class unknown to id_train; nearest: {near!r}")
    files = {folder: _images(path / folder) for folder in folders}
    empty = [folder for folder, images in files.items() if not images]
    if empty:
        raise DataError(f"{path}: no images in class {', '.join(empty)}; allowed: at least one file of {SUFFIXES}")
    labelled = [(file, classes.index(folder)) for folder, images in files.items() for file in images]
    source, kept = open_pictures(name, [file for file, _ in labelled], view, skip)
    labels = torch.tensor([label for _, label in labelled])[kept]
    if len(labels) == 0:
        raise DataError(f"{path}: none of {len(labelled)} images is readable; allowed: at least one")
    return Split(name, source, labels, view)
