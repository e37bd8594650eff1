"""Opening a data set by name: which parts are read, what is drawn from them, what is told of those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from metaft.config.paths import no_folder
from metaft.config.schema import DataConfig
from metaft.data.captions import class_names, templates
from metaft.data.draws import dealt, drawn, few, held_out
from metaft.data.pictures import Listed, Opening, splits_of
from metaft.data.sets.entry import ID_VAL, Entry, Known, Layout, Part, SetOptions, looked_for
from metaft.data.sets.trees import pooled
from metaft.data.types import Classes, ImageView, Split, Splits
from metaft.errors import DataError
from metaft.progress import tell, warn

TEST = "ood_test/"


def load(entry: Entry, options: SetOptions, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Open a set's parts as the options say.

    Raises:
        DataError: the root or a part that is needed is not there, or is not as it is given away.
    """
    root = data.root or Path()
    if not root.is_dir():
        raise DataError(f"data.root: {no_folder(root)}; allowed: the folder that holds the set")
    layout, shifts = _layout(entry, options, root), entry.shifts(options)
    known = layout.classes(root)
    given = _Set(root, known, {**layout.parts, **shifts})
    listed = given.of_id(entry.held_out, seed)
    if not data.corruptions:  # of which ood_val is made
        listed["ood_val"], listed[ID_VAL] = given.judges(options, listed[ID_VAL], seed)
    if data.shots is not None and not data.corruptions:  # for which images are held out first
        listed["id_train"] = listed["id_train"].subset(few(listed["id_train"].labels, data.shots, seed))
    tests = {
        f"{TEST}{name}": name
        for name in _tests(shifts, options, root, () if data.corruptions else options.ood_val_from)
    }
    listed |= {name: given.part(part, name) for name, part in tests.items()}
    classes = _classes(entry, known, data)
    classes.refuse_alike()  # before hours are spent on decoding
    opening = Opening.of(classes.names, data, view)
    splits = _opened(listed, {name: given.parts[part] for name, part in tests.items()}, opening)
    return Splits(
        splits["id_train"],
        splits[ID_VAL],
        splits.get("ood_val", splits[ID_VAL]),
        {name: splits[name] for name in ("id_test", *tests)},
        classes,
    )


@dataclass(frozen=True)
class _Set:
    """A set's parts below a root."""

    root: Path
    known: Known
    parts: Mapping[str, Part]

    def part(self, part: str, name: str) -> Listed:
        """The pictures of a part, under the name of a split; tells where they are not as many as were published.

        Raises:
            DataError: it is not there, cannot be read, or has labels of no class.
        """
        place, read = looked_for(name, self.root, self.parts[part])
        listed = read(name, place, self.known.folders)
        odd = next((label for label in listed.labels if not 0 <= label < len(self.known.names)), None)
        if odd is not None:
            raise DataError(f"{name}: {place}: a label {odd}; allowed: 0 to {len(self.known.names) - 1}")
        published = self.parts[part].images
        if published is not None and len(listed.files) != published:
            warn(f"{name}: {len(listed.files):,} of {published:,} published pictures in {place}")
        return listed

    def of_id(self, share: float, seed: int) -> dict[str, Listed]:
        """id_train, id_val and id_test; id_val is a share of id_train where it has no part of its own."""
        listed = {name: self.part(name, name) for name in ("id_train", ID_VAL, "id_test") if name in self.parts}
        if ID_VAL not in listed:
            train = listed["id_train"]
            kept, held = held_out(train.labels, share, seed)
            listed |= {"id_train": train.subset(kept), ID_VAL: replace(train.subset(held), name=ID_VAL)}
        return listed

    def judges(self, options: SetOptions, id_val: Listed, seed: int) -> tuple[Listed, Listed]:
        """ood_val, and what of id_val is not taken for it."""
        names = [name for name in options.ood_val_from if name != ID_VAL]
        sources = [(name, self.part(name, "ood_val")) for name in names]
        if ID_VAL in options.ood_val_from:
            half, rest = dealt(id_val.labels, 2, seed)
            sources, id_val = [*sources, (ID_VAL, id_val.subset(half))], id_val.subset(rest)
        pool = pooled("ood_val", sources[0][1].where, sources)
        if options.ood_val is not None and options.ood_val < len(pool.files):
            pool = pool.subset(drawn(pool.labels, pool.domains, options.ood_val, seed, options.balanced))
        return pool, id_val


def _layout(entry: Entry, options: SetOptions, root: Path) -> Layout:
    """The layout that is read; tells which it is where several are there.

    Raises:
        DataError: none has an id_train there.
    """
    layouts = entry.layouts(options)
    looked_for("id_train", root, *(layout.parts["id_train"] for layout in layouts))
    whole = [layout.parts["id_train"] for layout in layouts if layout.there(root)[0]]
    places = [str(looked_for("id_train", root, part)[0]) for part in whole]
    if len(places) > 1:
        tell(f"the split is that of {places[0]}, not that of {', '.join(places[1:])}")
    return entry.layout(options, root)


def _tests(shifts: Mapping[str, Part], options: SetOptions, root: Path, judges: Sequence[str]) -> Sequence[str]:
    """The parts that are OOD tests: those that are asked for, or else those that are there and do not judge.

    Raises:
        DataError: the set has some, of which none is there.
    """
    if options.tests is not None:
        return options.tests
    possible = [name for name in shifts if name not in judges and not shifts[name].on_request]
    missing = [name for name in possible if shifts[name].found(root) is None]
    if missing and len(missing) == len(possible):
        allowed = "at least one of them, or data.options.tests=[] for none"
        raise DataError(f"ood_test: none of {', '.join(missing)} in {root}; allowed: {allowed}")
    if missing:
        tell(f"no OOD tests, as they are not in {root}: {', '.join(missing)}")
    return [name for name in possible if name not in missing]


def _classes(entry: Entry, known: Known, data: DataConfig) -> Classes:
    names = known.names if data.classnames is None else class_names(data.classnames, known.folders)
    own = entry.templates if data.templates is None else data.templates
    return Classes.published(names, templates(own) if isinstance(own, str) else own, known.folders)


def _opened(listed: Mapping[str, Listed], tests: Mapping[str, Part], opening: Opening) -> dict[str, Split]:
    """The splits of lists, those of framed pictures without their frames, with the answers of each test."""
    framed = {name: part.border for name, part in tests.items() if part.border}
    counts = {name: len(split.files) for name, split in listed.items()}
    beside = sum(counts[name] for name in framed)
    plain = {name: split for name, split in listed.items() if name not in framed}
    splits = splits_of(plain, replace(opening, others=beside))
    for name, border in framed.items():
        view, others = opening.reading.view, sum(counts.values()) - counts[name]
        reading = replace(opening.reading, view=replace(view, transform=_Cut(border, view.transform)))
        splits |= splits_of({name: listed[name]}, replace(opening, reading=reading, others=others))
    for name, part in tests.items():
        if part.answers is not None:
            splits[name] = replace(splits[name], answers=torch.tensor(part.answers()))
    return splits


@dataclass(frozen=True)
class _Cut:
    """A transform of pictures without their frame."""

    border: int
    transform: Callable[[Image.Image], Tensor]

    def __call__(self, image: Image.Image) -> Tensor:
        width, height = image.size
        return self.transform(image.crop((self.border, self.border, width - self.border, height - self.border)))
