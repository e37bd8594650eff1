"""What is declared of a data set that has a name: its classes, its parts, where these lie and who gives them away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from metaft.config.schema import DataConfig
from metaft.errors import DataError, Fault, unknown

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

ID_VAL = "id_val"  # as a source of ood_val: half of it, for sets that have no shifted part


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len({*names}) < len(names):
        raise ValueError("each name once")
    return names


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    AfterValidator(_each_once),
]


class SetOptions(BaseModel):
    """Settings that every set by name has, under `data.options`.

    `ood_val_from` names the part, or parts, whose images judge in the search, and which are no tests then; `id_val`:
    half of the ID validation images. `ood_val` is how many of them are taken, drawn by the seed; null: all. `balanced`
    draws as many of each class, and within a class of each domain, as there can be. `tests` names the parts that must
    be there as OOD tests; null: those that are there, at least one where the set has any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ood_val_from: Names = (ID_VAL,)
    ood_val: int | None = Field(1000, ge=1)
    balanced: bool = False
    tests: Names | None = None


class Home(NamedTuple):
    """Who gives images away: on which terms, as they state them, and where."""

    licence: str
    address: str


class Known(NamedTuple):
    """The classes of a set in the order of their labels: their names, and what stands for them on disk."""

    names: tuple[str, ...]
    folders: tuple[str, ...]


Reader = Callable[[str, Path, Sequence[str]], "Listed"]  # a split's name, where it lies, the classes' folders


class Place(NamedTuple):
    """A path below the root at which a part may lie, and what lists its pictures there."""

    path: str
    read: Reader


@dataclass(frozen=True)
class Part:
    """Labelled images of a set, as they are given away.

    Args:
        places: where they may lie, in the order in which they are looked for.
        images: how many were published; None: each copy has its own split.
        answers: for each class of the set the class that it counts as here, -1 where it is no answer (see `Split`);
            None: all classes are answers.
        border: the width in pixels of a frame around each picture that is cut off.
        on_request: a test only where `data.options.tests` names it.
    """

    places: tuple[Place, ...]
    images: int | None
    home: Home
    answers: Callable[[], Sequence[int]] | None = None
    border: int = 0
    on_request: bool = False

    def found(self, root: Path) -> tuple[Path, Reader] | None:
        """The first place where the part lies; None: it is not there."""
        there = ((root / place.path, place.read) for place in self.places if (root / place.path).exists())
        return next(there, None)


@dataclass(frozen=True)
class Layout:
    """A way in which a set lies on disk: all its ID parts, since another may deal the same images to other parts.

    Args:
        classes: from the root.
        parts: id_train, id_test, and id_val where it is given away.
    """

    classes: Callable[[Path], Known]
    parts: Mapping[str, Part]

    def there(self, root: Path) -> tuple[bool, bool]:
        """Whether all of its parts lie below the root, and whether any does."""
        found = [part.found(root) is not None for part in self.parts.values()]
        return all(found), any(found)


def _none(options: Any) -> Mapping[str, Part]:
    return {}


@dataclass(frozen=True)
class Entry:
    """A data set that has a name.

    Args:
        layouts: from the options, in the order in which they are looked for; a run reads one.
        templates: caption templates, or the name of a list of open_clip's.
        metric: what papers report of its tests (see `metaft.metrics`), by which models are chosen unless the settings
            name another.
        shifts: from the options, the parts that are of another distribution than id_train, by name.
        held_out: the share of id_train that is held out for id_val where that is not given away.
    """

    layouts: Callable[[Any], Sequence[Layout]]
    templates: tuple[str, ...] | str
    metric: str
    shifts: Callable[[Any], Mapping[str, Part]] = _none
    held_out: float = 0.1

    def layout(self, options: SetOptions, root: Path) -> Layout:
        """The first layout of which all parts are there; or else the first of which any is, or the first."""
        return max(self.layouts(options), key=lambda layout: layout.there(root))


def faults(entry: Entry, model: type[SetOptions], data: DataConfig) -> list[Fault]:
    """Faults of the settings of a set that its options' own types do not find: no root, names of no part."""
    found = [] if data.root else [Fault("data.root", "nothing given", "the folder that holds the set")]
    try:
        options = model.model_validate(data.options)
    except ValueError:
        return found  # each is found by name elsewhere
    shifts = entry.shifts(options)
    judges = [name for name, part in shifts.items() if part.answers is None] + [ID_VAL]
    found += [unknown("data.options.ood_val_from", name, judges) for name in options.ood_val_from if name not in judges]
    if not options.ood_val_from:
        found.append(Fault("data.options.ood_val_from", "nothing given", ", ".join(judges)))
    for name in options.tests or ():
        if name not in shifts:
            found.append(unknown("data.options.tests", name, shifts))
        elif name in options.ood_val_from and not data.corruptions:  # which are ood_val then
            found.append(Fault("data.options.tests", f"{name}, of which ood_val is", "other parts than ood_val_from"))
    return found


def looked_for(name: str, root: Path, *parts: Part) -> tuple[Path, Reader]:
    """Where the first part that is there lies, and its reader.

    Raises:
        DataError: none is.
    """
    found = next((found for part in parts if (found := part.found(root)) is not None), None)
    if found is None:
        places = " or ".join(place.path for part in parts for place in part.places)
        homes = " or ".join(dict.fromkeys(part.home.address for part in parts))
        raise DataError(f"{name}: no {places} in {root}; allowed: what is given away at {homes}, unpacked")
    return found


def beside(root: Path, *paths: str) -> Path:
    """The first of some paths below the root that is there.

    Raises:
        DataError: none is.
    """
    found = next((root / path for path in paths if (root / path).exists()), None)
    if found is None:
        raise DataError(f"data.root: {root}: no {' or '.join(paths)} there; allowed: the folder that holds one of them")
    return found
