"""wilds: iWildCam, FMoW and Camelyon17 as the WILDS benchmark unpacks them, read without its package.

Source: Koh et al., WILDS: A Benchmark of in-the-Wild Distribution Shifts, ICML 2021; the splits and paths are those of
its package (github.com/p-lambda/wilds), the templates those of WiSE-FT (Wortsman et al., CVPR 2022).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from metaft.config.paths import no_folder
from metaft.config.schema import DataConfig
from metaft.data.fmow import FMOW_CLASSES as FMOW_CLASSES
from metaft.data.fmow import FMOW_TEMPLATES
from metaft.data.stored import Files
from metaft.data.table import Line, known_in, number_in, read_table, text_in
from metaft.errors import DataError, Fault, few
from metaft.texts import whole

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed
    from metaft.data.types import ImageView, Splits

UNUSED = 99999  # the label of iWildCam's categories that have no image
SPLITS = {"train": "id_train", "id_val": "id_val", "id_test": "id_test", "val": "ood_val", "test": "ood_test/test"}


class Options(BaseModel):
    """Settings of `data.format: wilds`, under `data.options`; `data.root` holds the set's folder, or is it.

    `ood_val` is how many images of the official OOD validation split are taken, drawn by the seed; null: all.
    `balanced` draws as many of each class as there can be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["iwildcam", "fmow", "camelyon17"]
    ood_val: int | None = Field(1000, ge=1)
    balanced: bool = False


def needs_root(data: DataConfig) -> list[Fault]:
    """The fault of settings without a root folder."""
    if data.root is None:
        return [Fault("data.root", "nothing given", "the folder that the set was unpacked into")]
    return []


class Row(NamedTuple):
    """An image of a set: its path in the set's folder, label, official split, domain and group (see `Split`)."""

    image: str
    label: int
    split: str | None
    domain: str | None
    group: str | None


@dataclass(frozen=True)
class WildsSet:
    """A data set of WILDS.

    Args:
        folder: the name of its folder.
        table: the file in it that lists its images, with these `columns`.
        beside: what else must lie there; the last is the folder of images.
        images: how many were published of each split.
        rows: the rows of the lines of the table in a folder, one by one; a ValueError says what is wrong with a line.
        names: the class names in a folder, in the order of the labels.
        templates: caption templates.
        metric: what papers report of the OOD test; for FMoW of the worst region.
    """

    folder: str
    table: str
    columns: tuple[str, ...]
    beside: tuple[str, ...]
    images: Mapping[str, int]
    rows: Callable[[Sequence[Line], Path], Iterable[Row]]
    names: Callable[[Path], tuple[str, ...]]
    templates: tuple[str, ...]
    metric: str


def metric(options: Options) -> str:
    """The metric that papers report of the set."""
    return SETS[options.name].metric


def load(options: Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Read a set's table and open its splits.

    Raises:
        DataError: the folder is not there or not the set's, a table or images that cannot be read.
    """
    from metaft.data.captions import class_names, templates
    from metaft.data.draws import drawn
    from metaft.data.pictures import opened
    from metaft.data.types import Classes

    chosen = SETS[options.name]
    folder = _folder(data.root or Path(), chosen)
    names = chosen.names(folder)
    numbers = [str(label) for label in range(len(names))]
    if data.classnames is not None:
        names = class_names(data.classnames, numbers)
    texts = chosen.templates if data.templates is None else templates(data.templates)
    listed = _listed(folder, chosen, len(names))
    pool = listed["ood_val"]
    if data.corruptions:
        del listed["ood_val"]  # they take its place
    elif options.ood_val is not None:
        listed["ood_val"] = pool.subset(drawn(pool.labels, None, options.ood_val, seed, options.balanced))
    return opened(listed, Classes.published(names, texts, tuple(numbers)), data, seed, view)


def parts(options: Options, root: Path) -> dict[str, tuple[Path, int | None]]:
    """Where each part of a set is to lie below a root: its files and images, and its splits with how many there are."""
    chosen = SETS[options.name]
    folder = _place(root, chosen) or root / chosen.folder
    files = {name: (folder / name, None) for name in (chosen.table, *chosen.beside)}
    images = folder / chosen.beside[-1]
    return {**files, **{split: (images, count) for split, count in chosen.images.items()}}


def _place(root: Path, chosen: WildsSet) -> Path | None:
    """The root or the folder in it that has the set's table."""
    places = (folder for folder in (root, root / chosen.folder) if os.path.lexists(folder / chosen.table))
    return next(places, None)


def _folder(root: Path, chosen: WildsSet) -> Path:
    """The set's folder: the root, or one in it."""
    folder = _place(root, chosen)
    if folder is not None:
        _refuse_other_version(folder, chosen)
        return folder
    inner = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    found = f"{root}: {', '.join(inner[:8]) or 'nothing'} there" if root.is_dir() else no_folder(root)
    raise DataError(f"data.root: {found}; allowed: a folder that holds {chosen.folder}/{chosen.table}, unpacked whole")


def _refuse_other_version(folder: Path, chosen: WildsSet) -> None:
    """Refuse a folder whose name says that it is of another version, which may have other labels and splits."""
    own = chosen.folder.partition("_v")[0]
    for name in (folder.absolute().name, folder.resolve().name):
        if re.fullmatch(rf"{own}_v[0-9.]+", name) and name != chosen.folder:
            raise DataError(f"data.root: {folder}: the version {name}; allowed: {chosen.folder}")


def _listed(folder: Path, chosen: WildsSet, classes: int) -> dict[str, Listed]:
    """The images of each split, in the order of the table."""
    from metaft.data.pictures import Listed
    from metaft.progress import warn

    table = folder / chosen.table
    lines = read_table(table, chosen.columns)
    by_split: dict[str, list[Row]] = {name: [] for name in SPLITS.values()}
    for line, row in zip(lines, _rows(table, lines, chosen), strict=True):
        if not 0 <= row.label < classes:
            raise DataError(f"{table}, line {line.number}: label {row.label}; allowed: 0 to {classes - 1}")
        if row.split is not None:
            by_split[_of_splits(table, line, row.split)].append(row)
    empty = [name for name, rows in by_split.items() if not rows]
    if empty:
        raise DataError(f"{table}: no rows of {', '.join(empty)}; allowed: at least one of each split")
    counts = {name: len(rows) for name, rows in by_split.items()}
    others = [f"{counts[name]:,} of {n:,} of {name}" for name, n in chosen.images.items() if counts[name] != n]
    if others:
        warn(f"{table}: other numbers of pictures than were published: {few(others)}")
    listed = {}
    for name, rows in by_split.items():
        files, labels = Files(folder / row.image for row in rows), [row.label for row in rows]
        groups = [row.group for row in rows if row.group is not None] or None
        listed[name] = Listed(name, table, files, labels, domains=[row.domain for row in rows], groups=groups)
    return listed


def _rows(table: Path, lines: Sequence[Line], chosen: WildsSet) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(chosen.rows(lines, table.parent))
    except ValueError as error:  # those before it are there
        raise DataError(f"{table}, line {lines[len(rows)].number}: {error}") from error
    return rows


def _of_splits(table: Path, line: Line, split: str) -> str:
    """What a split of a table is called here."""
    if split not in SPLITS:
        raise DataError(f"{table}, line {line.number}: the split {split!r}; allowed: {', '.join(SPLITS)}")
    return SPLITS[split]


def _iwildcam_rows(lines: Sequence[Line], folder: Path) -> Iterator[Row]:
    """All splits lie in train/; a camera's place is a domain, and its images are alike."""
    for _, c in lines:
        place = f"place {text_in(c, 'location_remapped')}"
        yield Row(f"train/{text_in(c, 'filename')}", number_in(c, "y"), c["split"], place, place)


def _iwildcam_names(folder: Path) -> tuple[str, ...]:
    """The names of categories.csv by their label."""
    lines = read_table(folder / "categories.csv", ("y", "name"))
    odd = [line for line in lines if whole(line.cells["y"].removeprefix("-")) is None]
    if odd:
        where, found = f"{folder / 'categories.csv'}, line {odd[0].number}", odd[0].cells["y"]
        raise DataError(f"{where}: {found!r} in the column 'y'; allowed: a whole number in each row")
    by_label = {int(line.cells["y"]): line.cells["name"].lower() for line in lines if int(line.cells["y"]) != UNUSED}
    if sorted(by_label) != list(range(len(by_label))):
        raise DataError(f"{folder / 'categories.csv'}: labels with gaps; allowed: one name for each label from 0 on")
    return tuple(by_label[label] for label in range(len(by_label)))


def _fmow_rows(lines: Sequence[Line], folder: Path) -> Iterator[Row]:
    """By time: ID before 2013, OOD validation before 2016, the OOD test after; an image's number is its line's.

    A domain is a region. Countries of none, WILDS's "Other", are in no domain: its worst region leaves them out.
    """
    labels = {name: label for label, name in enumerate(FMOW_CLASSES)}
    countries = read_table(folder / "country_code_mapping.csv", ("alpha-3", "region"))
    regions = {c["alpha-3"]: c["region"] or None for _, c in countries}
    for number, (_, c) in enumerate(lines):
        split = _fmow_split(c["split"], _year(c["timestamp"]))
        image, region = f"images/rgb_img_{number}.png", regions.get(c["country_code"])
        yield Row(image, known_in(c, "category", labels), split, region, None)


def _year(timestamp: str) -> int:
    if re.match(r"[0-9]{4}-", timestamp) is None:
        raise ValueError(f"{timestamp!r} in the column 'timestamp'; allowed: a date that begins with its year")
    return int(timestamp[:4])


def _fmow_split(split: str, year: int) -> str | None:
    """The split of WILDS from that of FMoW and the year; None: an image of no split, as those kept for a challenge."""
    if year < 2013:
        return {"train": "train", "val": "id_val", "test": "id_test"}.get(split)
    return {("val", True): "val", ("test", False): "test"}.get((split, year < 2016))


CENTERS = {"0": None, "1": "val", "2": "test", "3": None, "4": None}  # None: ID, of the split that the table says


def _camelyon_rows(lines: Sequence[Line], folder: Path) -> Iterator[Row]:
    """By hospital: 1 is OOD validation, 2 the OOD test, the others ID; patches of a slide are alike.

    The official ID part that is not trained on judges and tests in turn: every other patch of it is one of id_test.
    """
    held_out = 0
    for _, c in lines:
        by_center = known_in(c, "center", CENTERS)
        split = by_center or known_in(c, "split", {"0": "train", "1": "id_val"})
        if split == "id_val":
            split, held_out = ("id_val", "id_test")[held_out % 2], held_out + 1
        case = f"patient_{number_in(c, 'patient'):03d}_node_{text_in(c, 'node')}"
        patch = f"patches/{case}/patch_{case}_x_{c['x_coord']}_y_{c['y_coord']}.png"
        yield Row(patch, number_in(c, "tumor"), split, f"hospital {c['center']}", f"slide {text_in(c, 'slide')}")


def _published(*images: int) -> dict[str, int]:
    """The number of images of each split, in the order of SPLITS."""
    return dict(zip(SPLITS.values(), images, strict=True))


SETS = {
    "iwildcam": WildsSet(
        folder="iwildcam_v2.0",
        table="metadata.csv",
        columns=("split", "filename", "y", "location_remapped"),
        beside=("categories.csv", "train"),
        images=_published(129_809, 7_314, 8_154, 14_961, 42_791),
        rows=_iwildcam_rows,
        names=_iwildcam_names,
        templates=("a photo of {}.", "{} in the wild."),
        metric="macro_f1",
    ),
    "fmow": WildsSet(
        folder="fmow_v1.1",
        table="rgb_metadata.csv",
        columns=("split", "category", "timestamp", "country_code"),
        beside=("country_code_mapping.csv", "images"),
        images=_published(76_863, 11_483, 11_327, 19_915, 22_108),
        rows=_fmow_rows,
        names=lambda _: FMOW_CLASSES,
        templates=FMOW_TEMPLATES,
        metric="worst_group",
    ),
    "camelyon17": WildsSet(
        folder="camelyon17_v1.0",
        table="metadata.csv",
        columns=("patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"),
        beside=("patches",),
        images=_published(302_436, 16_780, 16_780, 34_904, 85_054),  # of ID patches that judge, half are id_test
        rows=_camelyon_rows,
        names=lambda _: ("lymph node", "lymph node containing metastatic tumor tissue"),
        templates=("this is a photo of {}",),
        metric="accuracy",
    ),
}
# Who gives the sets away, and on which terms.
ADDRESS = "https://wilds.stanford.edu/datasets"
LICENCES = {"iwildcam": "CDLA-Permissive-1.0", "fmow": "FMoW Challenge Public License", "camelyon17": "CC0"}
