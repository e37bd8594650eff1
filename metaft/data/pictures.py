"""Splits of stored pictures: each tried once before any training, what is left out counted and told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from metaft.config.schema import DataConfig
from metaft.data.ahead import processes
from metaft.data.decode import (
    CONSTANT,
    FLAT,
    FRAMES,
    RAW,
    TRANSPARENT,
    TURNED,
    VALUES,
    Reading,
    is_picture,
    kind,
    suffixes,
)
from metaft.data.decoded import ImageFiles, Keeping, keeping, unchecked
from metaft.data.decoding import Checked
from metaft.data.draws import hold_out
from metaft.data.first_reading import FirstReading
from metaft.data.grouping import domains_of
from metaft.data.listed import Listed as Listed  # formats give them
from metaft.data.sources import MORE
from metaft.data.stored import Files, Inside, is_missing, name_of
from metaft.data.tree import Found, identity
from metaft.data.types import Classes, Domains, ImageView, Split, Splits, concatenated
from metaft.errors import DataError, few, on_a_line, without_allowed
from metaft.progress import tell, warn

UNREADABLE = "unreadable"
URL = re.compile(r"(?:^|/)[a-zA-Z][a-zA-Z0-9+.-]+:/[^/]")  # as a path has it, in which two slashes are one
COPY = re.compile(r"(~|^#.*#|\.(bak|old|orig|part|partial|crdownload|download|tmp|swp))$")
WIDEN = "12 bits, say, are to be multiplied by 16 before they are written"
SHOWN = 10  # files that cannot be read, each in a line of its own


def sorted_out(found: Found) -> Found:
    """The files that are to be pictures; others count as left out by their suffix."""
    files, left_out, plain = list[str | Inside](), Counter(found.left_out), suffixes() - RAW
    for file in found.files.kept:
        of_picture = _suffix(name_of(file)) in plain  # and so of no copy, which has a suffix of its own
        if of_picture or (is_picture(path := Path(str(file))) and not _is_copy(path)):
            files.append(file)
        else:
            left_out[kind(path)] += 1
    return Found(Files(files), left_out)


def _suffix(name: str) -> str:
    """The suffix of a file's name in small letters, as `Path.suffix` has it."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def _is_copy(file: Path) -> bool:
    """Whether a file's name is one that programs give to backups, numbered copies and what is half written."""
    if COPY.search(file.name.lower()):
        return True
    return file.suffix[1:].isdecimal() and Path(file.stem).suffix.lower() in suffixes()


@dataclass(frozen=True)
class Opening:
    """How listed files become splits.

    Args:
        classes: the class of each label.
        skip: leave out files that cannot be read.
        limit: bytes on disk that decoded pictures may take, of all splits together.
        late: try no file before it is asked for.
        others: the number of pictures of splits that are opened apart.
        workers: how many processes decode ahead what is not kept; None: one for each processor.
        begun: what the run has read as it began, with `skip`; None: nothing is known of it.
    """

    classes: Sequence[str]
    reading: Reading
    skip: bool
    limit: float
    late: bool = False
    others: int = 0
    workers: int | None = None
    begun: FirstReading | None = None

    @classmethod
    def of(cls, classes: Sequence[str], data: DataConfig, view: ImageView) -> Opening:
        """As the settings say."""
        reading = Reading(view, data.ground, data.exif_rotation)
        skip, late = (data.on_unreadable == choice for choice in ("skip", "late"))
        return cls(
            classes,
            reading,
            skip,
            data.cache_gib * 2**30,
            late,
            workers=data.workers,
            begun=data.begun if skip else None,
        )


def opened(listed: Mapping[str, Listed], classes: Classes, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """The data set of listed splits: id_train, id_val or a part held out for it, ood_val or ood_val/DOMAIN, and others.

    Raises:
        DataError: as `splits_of` does, or names of classes look alike.
    """
    classes.refuse_alike()  # before hours are spent on decoding
    splits = splits_of(listed, Opening.of(classes.folders, data, view))
    train, id_val = splits["id_train"], splits.get("id_val")
    if id_val is None:
        train, id_val = hold_out(train, seed)
    domains = _group(splits, "ood_val/")
    return Splits(
        id_train=train,
        id_val=id_val,
        # id_val keeps the place of what data.corruptions puts there
        ood_val=concatenated("ood_val", list(domains.items())) if domains else splits.get("ood_val", id_val),
        tests={name: split for name, split in splits.items() if name == "id_test" or name.startswith("ood_test/")},
        classes=classes,
        more=_group(splits, MORE),
    )


def _group(splits: Mapping[str, Split], start: str) -> dict[str, Split]:
    """The splits whose names begin so, by the rest of their names."""
    return {name.removeprefix(start): split for name, split in splits.items() if name.startswith(start)}


def splits_of(listed: Mapping[str, Listed], opening: Opening) -> dict[str, Split]:
    """The splits of listed files; a line for each tells how many are used, how many are not and why.

    Raises:
        DataError: a file is missing or no picture that can be read, and `skip` is not asked for, or none of a class
            is left, or a file is of two classes.
    """
    listed = {name: split.found() for name, split in listed.items()}
    if opening.begun is not None:
        listed = {name: opening.begun.as_listed(split) for name, split in listed.items()}
    if not opening.skip:
        for split in listed.values():
            _refuse_missing(split)
    for split in listed.values():
        _refuse_two_classes(split, opening.classes)
    files = Files(file for split in listed.values() for file in split.files.kept)
    kept = unchecked if opening.late else keeping(files, opening.reading, opening.limit, opening.others)
    return {name: _split(split, opening, kept) for name, split in listed.items()}


def _refuse_missing(listed: Listed) -> None:
    """Refuse a split of which files are not there, before hours are spent on decoding the others."""
    missing = [file for file in listed.files.kept if is_missing(file)]
    if missing:
        first = str(missing[0])
        what = ", of a URL" if URL.search(first) else ""
        count = f"{len(missing)} of {len(listed.files)} files are not there, the first: {on_a_line(first)}{what}"
        allowed = f"all that {listed.where} lists, on this machine, or data.on_unreadable=skip"
        raise DataError(f"{listed.name}: {count}; allowed: {allowed}")


def _refuse_two_classes(listed: Listed, classes: Sequence[str]) -> None:
    """Refuse a file that lies, by whatever links and paths, in two classes of a split."""
    first: dict[object, int] = {}
    for number, file in enumerate(listed.files.kept):
        before = first.setdefault(_identity(file), number)
        if listed.labels[before] != listed.labels[number]:
            one, other = (f"{listed.files[n]} of {classes[listed.labels[n]]!r}" for n in (before, number))
            raise DataError(f"{listed.name}: {one} and {other} are one file; allowed: one class for each picture")


def _identity(file: str | Inside) -> object:
    """What tells a file from others, whatever paths lead there."""
    try:
        return identity(file) if isinstance(file, str) else file
    except (OSError, ValueError):  # it is refused, or skipped, where it is opened
        return file


def _split(listed: Listed, opening: Opening, kept: Keeping) -> Split:
    checked, source = kept(listed.files, opening.reading)
    if opening.begun is not None:
        whole = opening.begun.stood_in(listed, checked.faults)
        if whole is not listed:
            listed, (checked, source) = whole, kept(whole.files, opening.reading)
    _refuse_or_tell(listed, checked, opening.skip)
    rows = [number for number in range(len(listed.files)) if number not in checked.faults]
    labels = [listed.labels[number] for number in rows]
    lost = [opening.classes[label] for label in sorted({*listed.labels} - {*labels})]
    if lost:
        none = f"no image of class {', '.join(lost)} is readable"
        raise DataError(f"{listed.where}: {none}; allowed: at least one in each class")
    _report(listed, checked, opening.reading)
    if opening.begun is not None:
        opening.begun.note(listed, rows)
    domains, groups = _named(listed.domains, rows), _named(listed.groups, rows)
    images = source(rows)
    if isinstance(images, ImageFiles) and opening.skip:
        images = replace(images, labels=tuple(labels))
    readers = processes(opening.workers) if isinstance(images, ImageFiles) else 0
    return Split(listed.name, images, torch.tensor(labels), opening.reading.view, domains, groups, readers=readers)


def _refuse_or_tell(listed: Listed, checked: Checked, skip: bool) -> None:
    """Refuse files that cannot be read, or where they are skipped say which; say which are of one colour, or nearly."""
    faults, count = list(checked.faults.values()), len(listed.files)
    if faults and not skip:
        raise DataError(f"{listed.name}: {len(faults)} of {count} images unreadable; the first: {faults[0]}")
    for fault in faults[:SHOWN]:
        warn(f"skipped: {without_allowed(fault)}")
    if len(faults) > SHOWN:
        warn(f"skipped: {len(faults) - SHOWN} more of {listed.name}")
    flat = {number: marks for number, marks in checked.marks.items() if CONSTANT in marks or FLAT in marks}
    if flat:
        what = FLAT if any(FLAT in marks for marks in flat.values()) else CONSTANT
        first = min(flat, key=lambda number: (CONSTANT in flat[number], number))  # says most
        values = next((f" ({mark}: {WIDEN})" for mark in flat[first] if mark.startswith(VALUES)), "")
        warn(f"{listed.name}: {len(flat)} of {count} pictures are {what}, the first: {listed.files[first]}{values}")


def _named(names: Sequence[str | None] | None, kept: Sequence[int]) -> Domains | None:
    """The domains, or groups, of the files that are kept."""
    return None if names is None else domains_of([names[i] for i in kept])


def _report(listed: Listed, checked: Checked, reading: Reading) -> None:
    """Tell how many files of a split are used, how many are not and why, and what was done to pictures."""
    marks = Counter(mark for found in checked.marks.values() for mark in found)
    unread = listed.left_out + Counter({UNREADABLE: len(checked.faults)})
    turned = "turned by their EXIF rotation" if reading.exif_rotation else "not turned as their EXIF rotation says"
    done = {
        f"transparent, on {reading.ground} (data.ground)": marks[TRANSPARENT],
        f"{turned} (data.exif_rotation)": marks[TURNED],
        f"{FRAMES}, of which the first is read": marks[FRAMES],
    }
    parts = [f"{listed.name}: {len(listed.files) - len(checked.faults)} pictures"]
    parts += [f"left out: {_counted(sorted(unread.items()))}"] if unread else []
    parts += [_counted(done.items())] if any(done.values()) else []
    tell("; ".join(parts))


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return few([f"{count} {what}" for what, count in counts if count])
