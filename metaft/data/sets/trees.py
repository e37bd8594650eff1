"""Pictures in a folder for each class, for sets that have names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaft.data.stored import Files, Inside, name_of
from metaft.data.tree import entries_beside, folders, refuse_nested, walked
from metaft.errors import DataError, few, hint

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

OTHERS = "of other classes"


@dataclass(frozen=True)
class Tree:
    """Lists the pictures of class folders.

    Args:
        labels: the label of each folder by its name, from the classes' folders; None: they are these folders.
        others: whether folders of other classes may lie there too, which are left out.
        only: whether a file of this name is one of the part's; None: all are.
        whole: whether every class must have a folder.
    """

    labels: Callable[[Sequence[str]], Mapping[str, int]] | None = None
    others: bool = False
    only: Callable[[str], bool] | None = None
    whole: bool = False

    def __call__(self, name: str, place: Path, classes: Sequence[str]) -> Listed:
        """The pictures of a split, sorted by their folders.

        Raises:
            DataError: folders that are missing, of an unknown class or inside another one's, or without pictures.
        """
        from metaft.data.pictures import Listed, sorted_out

        known = self.labels(classes) if self.labels else {folder: label for label, folder in enumerate(classes)}
        inner = folders(place)
        self._refuse(name, place, list(inner), known)
        left_out, labels, empty = entries_beside(place), list[int](), list[str]()
        files: list[str | Inside] = []
        for folder, path in inner.items():
            if folder not in known:
                left_out[OTHERS] += 1
                continue
            found = sorted_out(walked(path))
            refuse_nested(path, found.files, known)
            kept = [file for file in found.files.kept if self.only is None or self.only(name_of(file))]
            left_out += found.left_out + Counter({OTHERS: len(found.files) - len(kept)})
            files += kept
            labels += [known[folder]] * len(kept)
            empty += [] if kept else [folder]
        if empty:
            count = f"{len(empty)} of {len(known)} class folders are without pictures, the first: {empty[0]}"
            raise DataError(f"{name}: {place}: {count}; allowed: at least one in each")
        return Listed(name, place, Files(files), labels, left_out)

    def _refuse(self, name: str, place: Path, inner: Sequence[str], known: Mapping[str, int]) -> None:
        """Refuse folders of classes that the set does not have, or a lack of those that it has."""
        unknown = [folder for folder in inner if folder not in known]
        if unknown and not self.others:
            allowed = f"{few(list(known))}{hint(unknown[0], known)}"
            raise DataError(f"{name}: {place / unknown[0]}: no class of the set; allowed: {allowed}")
        missing = [folder for folder in known if folder not in inner]
        if missing and (self.whole or len(missing) == len(known)):
            count = f"{len(missing)} of {len(known)} class folders are not there, the first: {missing[0]}"
            raise DataError(f"{name}: {place}: {count}; allowed: a folder for each class")


def numbered(classes: Sequence[str]) -> dict[str, int]:
    """The labels of folders that are named by them."""
    return {str(label): label for label in range(len(classes))}


def in_folders(read: Tree, names: Sequence[str]) -> Callable[[str, Path, Sequence[str]], Listed]:
    """Lists the class folders in each of some folders that are there, each a domain; files of one name are of a group.

    Args:
        names: paths of the folders, of which the first part is the domain's name.
    """

    def listed(name: str, place: Path, classes: Sequence[str]) -> Listed:
        there = [inner for inner in names if (place / inner).is_dir()]
        if not there:
            raise DataError(f"{name}: {place}: none of {', '.join(names)} there; allowed: at least one of them")
        parts = [(inner.split("/")[0], read(name, place / inner, classes)) for inner in there]
        together = pooled(name, place, parts)
        return replace(together, groups=[name_of(file) for file in together.files.kept])

    return listed


def pooled(name: str, where: Path, parts: Sequence[tuple[str, Listed]]) -> Listed:
    """The pictures of several lists as one; where there are several, each is a domain unless it has domains."""
    from metaft.data.pictures import Listed

    lists = [part for _, part in parts]
    groups = [group for part in lists for group in part.groups or ()]
    several = len(parts) > 1 or any(part.domains is not None for _, part in parts)
    domains = [d for own, part in parts for d in part.domains or [own] * len(part.files)]
    return Listed(
        name,
        where,
        Files(file for part in lists for file in part.files.kept),
        [label for part in lists for label in part.labels],
        sum((part.left_out for part in lists), Counter()),
        domains if several else None,
        groups if all(part.groups is not None for part in lists) else None,
    )
